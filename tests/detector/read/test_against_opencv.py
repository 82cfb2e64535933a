"""The reader gives what OpenCV's reader gives, wherever that one is right: pictures, their order and their number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from shoal_detect.read.decode import Reading, read_frames
from shoal_detect.read.videos import find_videos

from tests.detector.read import corpus
from tests.detector.read.corpus import write

B_FRAMES = {"bf": "3", "preset": "veryfast"}

CASES: dict[str, Callable[[Path], object]] = {
    "mp4": lambda f: write(f / "a.mp4"),
    "mp4 with B-frames": lambda f: write(f / "a.mp4", options=B_FRAMES),
    "mp4 in pieces": lambda f: write(f / "a.mp4", muxing={"movflags": "frag_keyframe+empty_moov"}),
    "mp4 that begins late": lambda f: write(f / "a.mp4", stamp=lambda place: 10_000 + place * 40),
    "mp4 with frames far apart": lambda f: write(f / "a.mp4", stamp=lambda place: place * 40 + place // 25 * 1500),
    "mov": lambda f: write(f / "a.mov", codec="mjpeg"),
    "mkv": lambda f: write(f / "a.mkv"),
    "mkv with HEVC": lambda f: write(f / "a.mkv", codec="libx265"),
    "webm": lambda f: write(f / "a.webm", codec="libvpx"),
    "avi": lambda f: write(f / "a.avi", codec="mpeg4"),
    "avi with motion JPEG": lambda f: write(f / "a.avi", codec="mjpeg"),
    "flv": lambda f: write(f / "a.flv"),
    "ts": lambda f: write(f / "a.ts", muxer="mpegts"),
    "ts with B-frames": lambda f: write(f / "a.ts", muxer="mpegts", options=B_FRAMES),
    "program stream": lambda f: write(f / "a.mpg", codec="mpeg2video"),
    "odd sides": lambda f: write(f / "a.avi", codec="mjpeg", size=(161, 121)),
}


def opencv(path: str) -> list[corpus.Picture]:
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    pictures = []
    while True:
        more, picture = capture.read()
        if not more:
            return pictures
        pictures.append(np.asarray(picture[..., ::-1], np.uint8))


@pytest.mark.parametrize("name", CASES)
def test_the_same_pictures_in_the_same_order(tmp_path: Path, name: str) -> None:
    CASES[name](tmp_path)
    (video,) = find_videos(str(tmp_path)).videos
    reading = Reading()
    ours = [
        frame.image.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray()
        for frame in read_frames(video, reading)
    ]
    theirs = opencv(video.path)
    assert reading.fault is None
    assert len(ours) == len(theirs) == corpus.FRAMES
    assert [corpus.number(av.VideoFrame.from_ndarray(np.ascontiguousarray(one), format="rgb24")) for one in theirs] == [
        *range(corpus.FRAMES)
    ]
    worst = max(int(np.abs(mine.astype(int) - other).max()) for mine, other in zip(ours, theirs, strict=True))
    assert worst <= 3
