"""Chooses a few frames of a video worth looking at, while it goes by, and keeps only those in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import av
import numpy as np

from shoal_detect.pictures import annotate
from shoal_detect.pictures.annotate import Label, Picture
from shoal_detect.read.decode import Frame

MAX_SIDE_PX = 960
"""Key frames are for people and travel over slow lines, so they are made no larger than this."""
LEAST_GAP_S = 1.0
GAP_S_WITHOUT_DURATION = 2.0


@dataclass(frozen=True, slots=True)
class Found:
    """One detection on a frame, box in pixels of the frame."""

    class_id: int
    name: str
    confidence: float
    box: tuple[float, float, float, float]
    carried: bool = False
    """Found on an earlier frame; nothing changed there since."""


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """A chosen frame, scaled down, not drawn on yet."""

    index: int
    time_s: float
    score: float
    labels: list[Label]
    picture: Picture

    def drawn(self) -> Drawn:
        """The frame with its boxes."""
        picture = self.picture.copy()
        annotate.draw(picture, self.labels)
        height, width = picture.shape[:2]
        return Drawn(
            self.index, self.time_s, self.score, len(self.labels), width, height, annotate.encode_jpeg(picture)
        )


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chosen frame as a picture for people."""

    index: int
    time_s: float
    score: float
    detections: int
    width: int
    height: int
    jpeg: bytes


Chosen = TypeVar("Chosen", KeyFrame, Drawn)


@dataclass
class KeyFrames(Generic[Chosen]):
    """The best frames so far: those with the highest sum of confidences, a while apart from each other.

    A frame on which nothing was found is never kept: what it shows was not asked for.
    """

    limit: int
    gap_s: float
    chosen: list[Chosen] = field(default_factory=list)

    def offer(self, time_s: float, score: float, make: Callable[[], Chosen]) -> None:
        """Take the frame that `make` makes if it is better than what is there.

        Depends on nothing but the frames and their order.
        """
        if self.limit == 0:
            return
        near = [one for one in self.chosen if abs(one.time_s - time_s) < self.gap_s]
        if not near and len(self.chosen) >= self.limit:
            near = [min(self.chosen, key=lambda one: (one.score, -one.index))]
        if near and score <= max(one.score for one in near):
            return
        self.chosen = [one for one in self.chosen if not any(one is other for other in near)]
        self.chosen.append(make())
        self.chosen.sort(key=lambda one: one.index)


def offer(chosen: KeyFrames[KeyFrame], frame: Frame, found: Sequence[Found]) -> None:
    """Offer a frame with what was found on it."""
    if found:
        score = sum(one.confidence for one in found)
        chosen.offer(frame.time_s, score, lambda: _keep(frame, score, found))


def gap_s(limit: int, duration_s: float | None) -> float:
    """How far apart at most `limit` frames of a video should lie that is expected to last `duration_s`."""
    if not duration_s or not limit:
        return GAP_S_WITHOUT_DURATION
    return max(LEAST_GAP_S, duration_s / (4 * limit))


def _keep(frame: Frame, score: float, found: Sequence[Found]) -> KeyFrame:
    shown_width = frame.width * frame.pixel_aspect
    scale = min(1.0, MAX_SIDE_PX / max(shown_width, frame.height))
    across = scale * frame.pixel_aspect
    picture = _rgb(frame.image, max(1, round(shown_width * scale)), max(1, round(frame.height * scale)))
    labels = [
        Label(
            one.class_id,
            f"{one.name} {one.confidence:.2f}",
            (one.box[0] * across, one.box[1] * scale, one.box[2] * across, one.box[3] * scale),
        )
        for one in found
    ]
    return KeyFrame(frame.index, frame.time_s, score, labels, picture)


def _rgb(frame: av.VideoFrame, width: int, height: int) -> Picture:
    """The frame as RGB [height, width, 3] for people to look at, scaled by area, which loses least of small things."""
    scaled = frame.reformat(width, height, "rgb24", interpolation="AREA", threads=1)
    return np.asarray(scaled.to_ndarray(), dtype=np.uint8)
