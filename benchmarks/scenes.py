"""Clips for the benchmark of the detector: scenes made of the sample clips, labelled synthetic, and 4K footage.

Fixed cameras that see little are not among the footage that may be fetched, so they are made: the median of the campus
clips is an empty place, one person cut out of them walks over it, and a photo stands still. All have a camera's noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

NOISE = 2.0
"""Standard deviation of luma, of 256: a camera by day."""
FPS = 10
"""Of the sample clips."""
DEFOCUS = 3.0
"""Standard deviation in pixels."""
GROUP = 50
"""Frames from one key frame to the next."""
WALKER = ("cam02-campus", 0)
"""Clip and frame that the walker is cut out of."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One clip of the benchmark."""

    path: Path
    kind: str
    """empty, parked, sparse or busy."""
    synthetic: bool


def scenes(samples: Path, folder: Path, frames: int) -> list[Scene]:
    """All clips: the samples, which are busy, and those made here of so many frames."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(20261130)
    campus = [
        picture
        for path in sorted(samples.glob("*-campus.mp4"))
        for number, picture in enumerate(pictures(path))
        if number % 6 == 0
    ]
    # Out of focus: sharp, it holds things that the reference itself finds in one frame and not in the next.
    place = cv2.GaussianBlur(np.median(np.stack(campus), axis=0).astype(np.uint8), (0, 0), DEFOCUS)
    bus = next(pictures(next(iter(samples.glob("*-bus.mp4")))))
    name, number = WALKER
    before = list(pictures(samples / f"{name}.mp4"))[number]
    made = {
        "empty": ("empty-place", (noisy(place, random) for _ in range(frames))),
        "parked": ("parked-bus", (noisy(bus, random) for _ in range(frames))),
        "sparse": ("sparse-walker", (noisy(one, random) for one in walking(place, before, frames))),
    }
    found = [Scene(path, "busy", synthetic=False) for path in sorted(samples.glob("*.mp4"))]
    for kind, (stem, shown) in made.items():
        path = folder / f"{stem}.mp4"
        if not path.exists():
            write(path, shown)
        found.append(Scene(path, kind, synthetic=True))
    return found


def pictures(path: Path) -> Iterator[Picture]:
    """The frames of a clip as RGB."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def noisy(picture: Picture, random: np.random.Generator) -> Picture:
    """The picture with a camera's noise, the same in all three colours."""
    noise = random.normal(0, NOISE, picture.shape[:2]).astype(np.float32)[..., None]
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def walking(place: Picture, before: Picture, frames: int) -> Iterator[Picture]:
    """Somebody cut out of `before` by the difference to the empty place walks over it, to and fro."""
    difference = np.abs(before.astype(np.int16) - place).max(axis=2) > 40
    mask = cv2.morphologyEx(difference.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask)
    # A standing figure, the largest that is taller than broad.
    best = max(
        (number for number in range(1, count) if statistics[number][3] > 1.4 * statistics[number][2]),
        key=lambda number: statistics[number][4],
    )
    left, top, width, height, _ = statistics[best]
    patch = before[top : top + height, left : left + width].astype(np.float32)
    alpha = cv2.GaussianBlur((labels[top : top + height, left : left + width] == best).astype(np.float32), (3, 3), 0)
    room = place.shape[1] - width - 20
    for number in range(frames):
        at = 10 + int(abs((3 * number) % (2 * room) - room))
        picture = place.astype(np.float32)
        under = picture[top : top + height, at : at + width]
        under += (patch - under) * alpha[..., None]
        yield picture.astype(np.uint8)


def write(path: Path, shown: Iterable[Picture], codec: str = "libx264", fps: int = FPS, **options: str) -> None:
    """Encode pictures as a camera does."""
    part = path.with_suffix(".part.mp4")
    with av.open(str(part), "w") as container:
        stream: Any = None
        for picture in shown:
            if stream is None:
                stream = container.add_stream(codec, rate=Fraction(fps))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", GROUP
                stream.options = {"crf": "23", "preset": "veryfast", **options}
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    part.rename(path)


def in_4k(samples: Path, folder: Path, frames: int = 120) -> list[Path]:
    """The traffic clip blown up to 3840 x 2160 at 60 frames a second, in H.264 and in HEVC."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for codec, stem in (("libx264", "4k60-h264"), ("libx265", "4k60-hevc")):
        path = folder / f"{stem}.mp4"
        if not path.exists():
            small = list(pictures(samples / "cam08-traffic.mp4"))
            large = (
                cv2.resize(small[number // 6 % len(small)], (3840, 2160), interpolation=cv2.INTER_CUBIC)
                for number in range(frames)
            )
            write(path, large, codec, 60)
        found.append(path)
    return found
