"""With a stride, frames that nothing needs are not decoded; all else is as if they were."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from shoal_detect.errors import Exit
from shoal_detect.read.decode import Reading, read_frames
from shoal_detect.read.thinning import Doubt
from shoal_detect.read.videos import Video, find_videos
from shoal_detect.run import run
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

from tests.detector.read.corpus import hole, remux, write

B_FRAMES = {"bf": "3", "preset": "veryfast", "b_strategy": "0"}
OPEN_H264 = {**B_FRAMES, "x264-params": "open-gop=1:keyint=25:min-keyint=25:scenecut=0"}


def _hevc(parameters: str) -> dict[str, str]:
    return {"preset": "ultrafast", "x265-params": f"log-level=none:keyint=25:{parameters}"}


CASES: dict[str, Callable[[Path], Path]] = {
    "H.264 with B-frames": lambda f: write(f / "a.mp4", options=B_FRAMES),
    "H.264 with B-frames in TS": lambda f: write(f / "a.ts", muxer="mpegts", options=B_FRAMES),
    "H.264 with B-frames in Matroska": lambda f: write(f / "a.mkv", options=B_FRAMES),
    "H.264 in open groups": lambda f: write(f / "a.mp4", options=OPEN_H264),
    "H.264 that begins late": lambda f: write(f / "a.mp4", options=B_FRAMES, stamp=lambda place: 10_000 + place * 40),
    "HEVC": lambda f: write(f / "a.mp4", codec="libx265", options=_hevc("bframes=3:open-gop=0")),
    "HEVC in open groups": lambda f: write(f / "a.mkv", codec="libx265", options=_hevc("bframes=4:open-gop=1")),
}
DECODED: dict[str, Callable[[Path], Path]] = {
    "nothing to leave out": lambda f: write(f / "a.mp4"),
    "HEVC in temporal layers": lambda f: write(
        f / "a.mp4", codec="libx265", options=_hevc("bframes=3:temporal-layers=3")
    ),
    "frames far apart": lambda f: write(
        f / "a.mp4", options=B_FRAMES, stamp=lambda place: place * 40 + place // 25 * 1500
    ),
    "MPEG-4": lambda f: write(f / "a.avi", codec="mpeg4"),
    "times missing": lambda f: write(f / "a.avi", options=B_FRAMES),
    "a group without its first packet": lambda f: remux(
        write(f / "w.mp4", options=B_FRAMES), f / "a.mp4", lambda place: place != 25
    ),
    "packets missing": lambda f: remux(
        write(f / "w.mp4", options=B_FRAMES), f / "a.mp4", lambda place: place not in {31, 32, 50}
    ),
    "a hole": lambda f: hole(write(f / "a.ts", muxer="mpegts", options=B_FRAMES), 0.4, 0.45, fill=b"\xff"),
    "a piece taken out": lambda f: hole(write(f / "a.ts", muxer="mpegts", options=B_FRAMES), 0.4, 0.45, fill=None),
    "its end cut off": lambda f: hole(write(f / "a.ts", muxer="mpegts", options=B_FRAMES), 0.6, 1, fill=None),
}


def _read(video: Video, wanted: int, stride: int) -> tuple[list[tuple[int, float, bytes]], Reading, int]:
    """The wanted frames with their pixels, what is known of the video, and how many frames came."""
    reading, frames, count = Reading(), [], 0
    for frame in read_frames(video, reading, stride=stride):
        count += 1
        if frame.index % wanted == 0:
            frames.append((frame.index, frame.time_s, frame.stored.to_ndarray().tobytes()))
    return frames, reading, count


def _surely(video: Video, stride: int) -> tuple[list[tuple[int, float, bytes]], Reading, int]:
    """As the detector does it."""
    try:
        return _read(video, stride, stride)
    except Doubt:
        return _read(video, stride, 1)


def _known(reading: Reading) -> dict[str, Any]:
    known = asdict(reading)
    # Packets that are read ahead wait here; nothing is told of them.
    known["losses"] = {name: value for name, value in known["losses"].items() if not name.startswith("_")}
    return known


@pytest.mark.parametrize("stride", [2, 3, 10, 60])
@pytest.mark.parametrize("name", [*CASES, *DECODED])
def test_wanted_frames_and_all_that_is_known_are_as_ever(tmp_path: Path, name: str, stride: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    made = {**CASES, **DECODED}[name](tmp_path)
    made.rename(folder / made.name)
    (video,) = find_videos(str(folder)).videos
    expected, whole, decoded = _read(video, stride, 1)
    frames, reading, count = _surely(video, stride)
    assert [one[:2] for one in frames] == [one[:2] for one in expected]
    assert frames == expected
    assert _known(reading) == _known(whole)
    if name in CASES:
        assert whole.fault is None
        assert count < 0.8 * decoded, "frames were left out"


@pytest.mark.parametrize("ending", ["mkv", "ts", "mp4"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_bytes_that_went_bad_change_nothing_in_the_frames_that_are_looked_at(
    tmp_path: Path, codec: str, ending: str
) -> None:
    options = B_FRAMES if codec == "libx264" else _hevc("bframes=3")
    muxing = {"movflags": "faststart"} if ending == "mp4" else None
    data = write(tmp_path / f"whole.{ending}", codec=codec, options=options, muxing=muxing).read_bytes()
    differing = []
    for seed in range(12):
        choose = random.Random(seed)
        spoilt = bytearray(data)
        for _ in range(3):
            at = choose.randrange(len(data) // 10, len(data) - 40)
            spoilt[at : at + 40] = choose.randbytes(40)
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / f"a.{ending}").write_bytes(spoilt)
        (video,) = find_videos(str(folder)).videos
        expected, whole, _ = _read(video, 5, 1)
        frames, reading, _ = _surely(video, 5)
        if (frames, reading.frames) != (expected, whole.frames):
            differing.append(seed)
    assert not differing


def test_a_run_with_a_stride_gives_the_same_bytes_whatever_is_left_out(
    videos: Path, tmp_path: Path, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(videos / "a.mp4", options=B_FRAMES)
    write(videos / "b.mkv", codec="libx265", options=_hevc("bframes=3"))
    hole(write(videos / "c.ts", muxer="mpegts", options=B_FRAMES), 0.4, 0.45, fill=None)
    thinned, whole = tmp_path / "thinned", tmp_path / "whole"
    assert run(settings("--stride", "5", "--state", str(thinned)), Stop()) in {Exit.DONE, Exit.FAULTY_VIDEOS}
    folder = tmp_path / "all"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        """
import sys
if "-m" in sys.orig_argv and "shoal_detect.child" in sys.orig_argv:
    from shoal_detect.read import decode
    decode.CODECS = frozenset()
"""
    )
    monkeypatch.syspath_prepend(folder)
    assert run(settings("--stride", "5", "--state", str(whole)), Stop()) in {Exit.DONE, Exit.FAULTY_VIDEOS}
    found = sorted(path.relative_to(thinned) for path in thinned.glob("videos/*/detections.jsonl"))
    assert len(found) == 3
    for path in found:
        assert (thinned / path).read_bytes() == (whole / path).read_bytes()
        ours, theirs = (corpus_summary(state / path.parent / "summary.json") for state in (thinned, whole))
        assert ours == theirs


def corpus_summary(path: Path) -> dict[str, Any]:
    """A video's summary without the times of the work."""

    document: dict[str, Any] = json.loads(path.read_text())
    return {name: value for name, value in document.items() if name not in {"decode_and_infer_s", "frames_per_s"}}
