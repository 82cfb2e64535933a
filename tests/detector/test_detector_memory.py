"""How many processes a container's memory holds: by the pictures that they will meet."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from shoal_detect import memory
from shoal_detect.errors import Exit
from shoal_detect.memory import LARGEST, UHD, Picture, worker_bytes
from shoal_detect.pool import Pool
from shoal_detect.read import decode
from shoal_detect.read.survey import largest_picture
from shoal_detect.read.videos import find_videos
from shoal_detect.run import run
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

from benchmarks.detector import measured
from tests.detector import detector_making as making
from tests.detector.detector_making import RED

MakeSettings = Callable[..., Settings]
VGA = Picture(640 * 480, 640 * 480 * 3 // 2)
UHD_10_BITS = Picture(UHD.pixels, UHD.pixels * 3)


@pytest.mark.parametrize(
    ("picture", "peak_mb"),
    [(VGA, 256), (VGA, 359), (UHD, 776), (UHD, 798), (UHD_10_BITS, 826)],
    ids=["H.264 640 x 480, float32", "the same in bfloat16", "H.264 4K", "HEVC 4K", "HEVC 4K of 10 bits"],
)
def test_a_process_is_reckoned_with_more_than_the_peak_that_was_measured(picture: Picture, peak_mb: int) -> None:
    assert worker_bytes(29_000_000, picture) > peak_mb * 1_000_000


def test_small_pictures_leave_room_for_more_processes() -> None:
    limit = 2_000_000_000
    assert memory.processes_within(limit, 8, 29_000_000, VGA) == 4
    assert memory.processes_within(limit, 8, 29_000_000) == memory.processes_within(limit, 8, 29_000_000, UHD) == 2
    assert memory.processes_within(limit, 8, 29_000_000, UHD_10_BITS) == 1
    assert LARGEST.pixels == decode.MAX_PIXELS


def _film(path: Path, width: int, height: int, frames: int = 1, pixels: str = "yuv420p", **options: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = noise.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(options.pop("codec", "libx264"), rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt, stream.options = width, height, pixels, options
        for place in range(frames):
            shown = av.VideoFrame.from_ndarray(np.roll(picture, 16 * place, axis=1), format="rgb24")
            container.mux(stream.encode(shown.reformat(format=pixels)))
        container.mux(stream.encode(None))


def test_the_largest_picture_is_known_before_anything_is_read(videos: Path) -> None:
    making.write_video(videos / "small.mp4", [making.picture({(0, 0): RED})])
    (videos / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    small = largest_picture(find_videos(str(videos)).videos, lambda: None)
    assert small == Picture(64 * 64, 64 * 64 * 3 // 2)
    _film(videos / "ten-bits.mkv", 1280, 720, pixels="yuv420p10le", preset="ultrafast")
    calls: list[None] = []
    found = largest_picture(find_videos(str(videos)).videos, lambda: calls.append(None))
    assert found == Picture(1280 * 720, 1280 * 720 * 3)
    assert calls
    assert largest_picture([], lambda: None) == Picture(0, 0)


@pytest.mark.parametrize(("limit", "few"), [(2_000_000_000, False), (1_300_000_000, True), (None, False)])
def test_a_run_counts_its_own_pictures_where_memory_is_scarce(
    videos: Path, settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, *, limit: int | None, few: bool
) -> None:
    for name in "abcd":
        making.write_video(videos / f"{name}.mp4", [making.picture({(0, 0): RED})])
    monkeypatch.setattr(memory, "limit_bytes", lambda: limit)
    started: list[int] = []
    detect = Pool.detect

    def noted(pool: Pool, wanted: Any, processes: int, *more: Any) -> Any:
        started.append(processes)
        return detect(pool, wanted, processes, *more)

    monkeypatch.setattr(Pool, "detect", noted)
    assert run(settings("--threads", "4"), Stop()) is Exit.DONE
    assert started == [3 if few else 4]


@pytest.mark.long
@pytest.mark.parametrize(
    ("codec", "pixels", "parameters"),
    [
        ("libx264", "yuv420p", {"x264-params": "ref=16:bframes=3"}),
        ("libx265", "yuv420p10le", {"x265-params": "ref=16:bframes=4:allow-non-conformance=1:log-level=error"}),
    ],
)
def test_4k_pictures_take_no_more_than_is_reckoned(
    tmp_path: Path,
    arguments: Callable[..., list[str]],
    videos: Path,
    *,
    codec: str,
    pixels: str,
    parameters: dict[str, str],
) -> None:
    """With as many pictures to refer to as the codec knows. The model is a small one, and counts for nothing."""

    def peak_bytes(name: str) -> int:
        command = [sys.executable, "-P", "-m", "shoal_detect", *arguments("--state", str(tmp_path / name))]
        return int(measured(command, [0], {"PYTHONPATH": str(making.DETECTOR)})["peak_memory_mb"] * 1_000_000)

    making.write_video(videos / "a.mp4", [making.picture({(0, 0): RED})] * 30)
    without = peak_bytes("small")
    (videos / "a.mp4").unlink()
    _film(videos / "a.mkv", 3840, 2160, 40, pixels, codec=codec, preset="ultrafast", **parameters)
    largest = largest_picture(find_videos(str(videos)).videos, lambda: None)
    assert peak_bytes("large") - without < worker_bytes(0, largest) - worker_bytes(0, Picture(0, 0))
