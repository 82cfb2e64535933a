"""Atomic writes: a failure in the middle leaves the old file and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shoal.files import close_to_others, private_folder, sha256_file, write_atomic


def test_a_write_replaces_the_file_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    write_atomic(path, "old")
    write_atomic(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert sha256_file(path) == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"


def test_no_space_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_what_is_written_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "a" / "b" / "file", "x")
        private_folder(tmp_path / "c" / "d")
        private_folder(tmp_path / "c" / "d")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"a": 0o700, "b": 0o700, "file": 0o600, "c": 0o700, "d": 0o700}


def test_a_folder_that_others_made_keeps_its_mode_and_one_of_ours_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    private_folder(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    close_to_others(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    close_to_others(tmp_path / "none")


def test_a_file_in_the_way_of_a_folder_is_said_in_the_systems_words(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(FileExistsError):
        private_folder(tmp_path / "a")


def test_the_folder_is_flushed_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def watched(handle: int) -> None:
        real(handle)
        synced.append(Path(f"/proc/self/fd/{handle}").resolve().name)

    monkeypatch.setattr(os, "fsync", watched)
    write_atomic(tmp_path / "file", "x")
    assert synced[-1] == tmp_path.name
    assert synced[0].startswith(".file.")
