"""Clips for the benchmark of the detector: scenes made of the sample clips, labelled synthetic, and 4K footage.

Fixed cameras that see little are not among the footage that may be fetched, so they are made: a wall and a floor are an
empty place, somebody cut out of a photo crosses it now and then, and a photo stands still. All have a camera's noise.
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
GROUP = 50
"""Frames from one key frame to the next."""
WALKER = (42, 128, 166, 480)
"""Where somebody stands in the photo of a bus: left, top, right, bottom."""
WALKER_HEIGHT = 110
"""Of somebody who crosses the picture at a distance, in pixels of 480."""
STEP = 6
"""Pixels from frame to frame: 60 in a second, some 0.9 m."""
CROSSINGS_APART = 660
"""Frames from one crossing to the next; each takes 113, so that somebody is there for 17 % of the time."""


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
    bus = next(pictures(samples / "cam10-still-photo-bus.mp4"))
    made = {
        "empty": ("empty-place", (noisy(empty_place(), random) for _ in range(frames))),
        "parked": ("parked-bus", (noisy(bus, random) for _ in range(frames))),
        "sparse": ("sparse-crossing", (noisy(one, random) for one in crossing(empty_place(), bus, frames))),
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


def empty_place(width: int = 640, height: int = 480) -> Picture:
    """A wall and a floor: a place in which the reference finds nothing in any frame."""
    down = np.linspace(70, 150, height)[:, None] + 6 * np.sin(np.arange(width) / 37)[None, :]
    down[height // 2 :] -= 30
    return np.clip(np.stack([down + 8, down, down - 6], axis=2), 0, 255).astype(np.uint8)


def crossing(place: Picture, photo: Picture, frames: int) -> Iterator[Picture]:
    """Now and then somebody cut out of a photo crosses an empty place, in turn from left and right."""
    left, top, right, bottom = WALKER
    width = round(WALKER_HEIGHT * (right - left) / (bottom - top))
    alpha = np.zeros((bottom - top, right - left), np.float32)
    alpha[6:-6, 6:-6] = 1
    alpha = cv2.GaussianBlur(alpha, (0, 0), 3)
    patch, alpha = (
        cv2.resize(one.astype(np.float32), (width, WALKER_HEIGHT), interpolation=cv2.INTER_AREA)
        for one in (photo[top:bottom, left:right], alpha)
    )
    for number in range(frames):
        round_number, step = divmod(number, CROSSINGS_APART)
        at = STEP * step - width
        under, over = place.astype(np.float32), np.zeros(place.shape[:2], np.float32)
        if at < place.shape[1]:
            at = place.shape[1] - width - at if round_number % 2 else at
            first, last = max(0, at), min(place.shape[1], at + width)
            down = slice(230 + 40 * (round_number % 3), 230 + 40 * (round_number % 3) + WALKER_HEIGHT)
            shown = slice(first - at, last - at)
            over[down, first:last] = alpha[:, shown]
            on_top = under.copy()
            on_top[down, first:last] = patch[:, shown]
            under += (on_top - under) * over[..., None]
        yield under.astype(np.uint8)


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
