"""The scan that finds new footage: what it looks at when nothing is new, and what it finds when something is."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from shoal_detect.watch.footage import Scan
from shoal_detect.watch.settings import Watched

DAYS, FILES = 7, 20
BEGAN = datetime(2026, 11, 24, 12, tzinfo=UTC)
AN_HOUR_AGO_S = time.time() - 3600


def laid(root: Path, day: int, minute: int) -> str:
    """A file as a recorder leaves it; its name relative to the root."""
    began = BEGAN + timedelta(days=day, minutes=minute)
    name = f"cameras/north/{began:%Y-%m-%d}/{began:%Y%m%dT%H%M%SZ}.mp4"
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0\0\0\x18ftypisom")
    os.utime(path, (AN_HOUR_AGO_S, AN_HOUR_AGO_S))
    return name


@pytest.fixture
def names(tmp_path: Path) -> set[str]:
    """A week of a camera, an hour old."""
    found = {laid(tmp_path, day, minute) for day in range(DAYS) for minute in range(FILES)}
    for folder in (tmp_path / "cameras/north").iterdir():
        os.utime(folder, (AN_HOUR_AGO_S, AN_HOUR_AGO_S))
    os.utime(tmp_path / "cameras/north", (AN_HOUR_AGO_S, AN_HOUR_AGO_S))
    return found


class Counted:
    """What the scan asks of the file system."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stats = self.listings = 0
        stat, scandir = os.stat, os.scandir

        def counted_stat(path, *more, **named):  # type: ignore[no-untyped-def]
            self.stats += 1
            return stat(path, *more, **named)

        def counted_scandir(path):  # type: ignore[no-untyped-def]
            self.listings += 1
            return scandir(path)

        monkeypatch.setattr(os, "stat", counted_stat)
        monkeypatch.setattr(os, "scandir", counted_scandir)


def test_where_nothing_is_new_each_folder_is_asked_for_its_time_and_none_is_listed(
    tmp_path: Path, names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Scan(str(tmp_path), Watched("north", "cameras/north"), "utc")
    assert {one.name for one in scan.segments(names - {min(names)})} == {min(names)}
    with monkeypatch.context() as patch:
        seen = Counted(patch)
        assert list(scan.segments(names)) == []
    assert (seen.stats, seen.listings) == (1 + DAYS, 0)
    new = laid(tmp_path, 0, FILES)
    with monkeypatch.context() as patch:
        seen = Counted(patch)
        assert [one.name for one in scan.segments({}, names)] == [new]
    assert seen.listings == 1


def test_what_is_done_while_it_is_looked_for_is_not_found_again(tmp_path: Path, names: set[str]) -> None:
    """Another thread notes a file as done and then takes it off what waits: each step between two questions."""
    done = names - {max(names)}

    class Waiting(set[str]):
        def __contains__(self, name: object) -> bool:
            if name == max(names):
                done.add(max(names))
            return False

    scan = Scan(str(tmp_path), Watched("north", "cameras/north"), "utc")
    assert list(scan.segments(Waiting(), done)) == []


def test_files_of_the_input_folder_itself_have_plain_names(tmp_path: Path) -> None:
    (tmp_path / "20261130T080000Z.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    os.utime(tmp_path / "20261130T080000Z.mp4", (AN_HOUR_AGO_S, AN_HOUR_AGO_S))
    assert [one.name for one in Scan(str(tmp_path), Watched("all", "."), "utc").segments()] == ["20261130T080000Z.mp4"]
