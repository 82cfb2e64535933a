"""Files that are not what they were when they were listed: pipes, files that grow, shrink, or go away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shoal_detect.read import source
from shoal_detect.read.decode import Reading, read_frames
from shoal_detect.read.faults import Kind
from shoal_detect.read.videos import Video, find_videos

from tests.detector.read.corpus import write


@pytest.fixture
def video(tmp_path: Path) -> Video:
    write(tmp_path / "cam.mp4")
    (found,) = find_videos(str(tmp_path)).videos
    return found


def _read(video: Video, *, at_frame: int | None = None, do: Callable[[], object] = lambda: None) -> Reading:
    reading = Reading()
    for frame in read_frames(video, reading):
        if frame.index == at_frame:
            do()
    return reading


def test_a_listed_file_that_is_a_pipe_by_now_is_refused_at_once(video: Video) -> None:
    Path(video.path).unlink()
    os.mkfifo(video.path)
    began = time.monotonic()
    reading = _read(video)
    assert time.monotonic() - began < 1
    assert reading.fault is not None
    assert (reading.fault.kind, reading.fault.message) == (Kind.UNREADABLE, "is not a regular file")


@pytest.mark.parametrize("other", ["folder", "gone", "denied"])
def test_whatever_took_its_place_is_named(video: Video, other: str) -> None:
    path = Path(video.path)
    path.unlink()
    if other == "folder":
        path.mkdir()
    elif other == "denied":
        path.symlink_to("/proc/1/mem-of-nobody")
    reading = _read(video)
    assert reading.fault is not None
    assert reading.fault.kind == Kind.UNREADABLE


def test_a_file_that_is_deleted_or_replaced_while_it_is_read_is_read_to_its_end(video: Video, tmp_path: Path) -> None:
    other = write(tmp_path / "longer.tmp", range(200), muxer="mp4")
    reading = _read(video, at_frame=3, do=lambda: other.replace(video.path))
    assert (reading.fault, reading.frames) == (None, 75)


def test_a_file_that_somebody_writes_to_is_left_alone(video: Video) -> None:
    with Path(video.path).open("ab"):
        reading = _read(video)
    assert reading.fault is not None
    assert (reading.fault.kind, reading.frames) == (Kind.GROWING, 0)
    assert "still being written" in reading.fault.message
    assert _read(video).fault is None


@pytest.fixture
def silent_kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a network's file system, or for another user's file."""
    monkeypatch.setattr(source, "_open_for_writing", lambda handle: None)
    return iter(())


@pytest.mark.usefixtures("silent_kernel")
def test_where_the_kernel_does_not_say_the_time_of_the_last_change_decides(video: Video) -> None:
    os.utime(video.path, (time.time() - 1, time.time() - 1))
    reading = _read(video)
    assert reading.fault is not None
    assert reading.fault.kind == Kind.GROWING
    for age_s in (10, -1000):  # settled; a clock that was set back says nothing
        os.utime(video.path, (time.time() - age_s, time.time() - age_s))
        assert _read(video).fault is None


def _append(video: Video) -> None:
    with Path(video.path).open("ab") as stream:
        stream.write(b"more")


def test_a_file_that_grows_while_it_is_read_is_called_growing(video: Video) -> None:
    reading = _read(video, at_frame=3, do=lambda: _append(video))
    assert reading.fault is not None
    assert (reading.fault.kind, reading.frames) == (Kind.GROWING, 75)


def test_a_file_that_is_cut_while_it_is_read_is_called_changed(video: Video) -> None:
    reading = _read(video, at_frame=3, do=lambda: os.truncate(video.path, 0))
    assert reading.fault is not None
    assert reading.fault.kind == Kind.CHANGED


def test_every_read_can_be_ended(video: Video) -> None:
    """A survey of a large file, or a film without a key frame: whoever reads is asked before every read."""

    class EndedError(Exception):
        pass

    calls = iter(range(3))

    def alive() -> None:
        if next(calls, None) is None:
            raise EndedError

    with pytest.raises(EndedError):
        list(read_frames(video, Reading(), alive=alive))
