"""The script that mounts a cloud node's data disk: a blank disk is formatted, one that holds something never."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stacks.gcp.data_disk import PREPARE


def run(tmp_path: Path, *, blkid: int, mounted: bool = False, disk: bool = True) -> tuple[int, list[str]]:
    """Exit code and the commands that would have changed something, on a machine made of recording commands."""
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    log.touch()
    answers = {"blkid": blkid, "mountpoint": 0 if mounted else 1, "mkfs.ext4": 0, "mount": 0, "resize2fs": 0}
    for name, code in answers.items():
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"{log}"\nexit {code}\n')
        (tools / name).chmod(0o755)
    text = PREPARE
    for path in ("/dev/disk/by-id/google-shoal-data", "/var/lib/shoal", "/videos"):
        text = text.replace(f"={path}\n", f"={tmp_path}{path}\n")
    if disk:
        place = tmp_path / "dev/disk/by-id/google-shoal-data"
        place.parent.mkdir(parents=True)
        place.touch()
    done = subprocess.run(
        ["sh", "-c", text], env={**os.environ, "PATH": f"{tools}:/usr/bin:/bin"}, capture_output=True, check=False
    )
    words = [line.replace(str(tmp_path), "") for line in log.read_text().splitlines()]
    return done.returncode, [line for line in words if not line.startswith(("blkid", "mountpoint", "resize2fs"))]


MOUNTS = [
    "mount -o discard,nosuid,nodev /dev/disk/by-id/google-shoal-data /var/lib/shoal",
    "mount --bind /var/lib/shoal/videos /videos",
]


def test_a_blank_disk_is_formatted_and_mounted(tmp_path: Path) -> None:
    formatted = "mkfs.ext4 -q -m 0 -L shoal-data /dev/disk/by-id/google-shoal-data"
    assert run(tmp_path, blkid=2) == (0, [formatted, *MOUNTS])


def test_a_disk_that_holds_something_is_only_mounted(tmp_path: Path) -> None:
    assert run(tmp_path, blkid=0) == (0, MOUNTS)


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, blkid=0, mounted=True) == (0, [])


@pytest.mark.parametrize("code", [1, 4, 8, 127])
def test_a_disk_that_cannot_be_told_is_left_alone(tmp_path: Path, code: int) -> None:
    assert run(tmp_path, blkid=code) == (1, [])


def test_no_disk_is_an_error(tmp_path: Path) -> None:
    assert run(tmp_path, blkid=2, disk=False) == (1, [])
