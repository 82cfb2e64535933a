"""Chooses a few frames of a video worth looking at, while it goes by, and keeps only those in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """A chosen frame, scaled down, not drawn on yet."""

    index: int
    time_s: float
    score: float
    labels: list[Label]
    picture: Picture

    def jpeg(self) -> bytes:
        """The frame with its boxes."""
        picture = self.picture.copy()
        annotate.draw(picture, self.labels)
        return annotate.encode_jpeg(picture)


@dataclass
class KeyFrames:
    """The best frames so far: those with the highest sum of confidences, a while apart from each other.

    A frame on which nothing was found is never kept: nobody asked for what it shows.
    """

    limit: int
    gap_s: float
    chosen: list[KeyFrame] = field(default_factory=list)

    def offer(self, frame: Frame, found: Sequence[Found]) -> None:
        """Take the frame if it is better than what is there. Depends on nothing but the frames and their order."""
        if self.limit == 0 or not found:
            return
        score = sum(one.confidence for one in found)
        near = [one for one in self.chosen if abs(one.time_s - frame.time_s) < self.gap_s]
        if not near and len(self.chosen) >= self.limit:
            near = [min(self.chosen, key=lambda one: (one.score, -one.index))]
        if near and score <= max(one.score for one in near):
            return
        self.chosen = [one for one in self.chosen if one not in near]
        self.chosen.append(_keep(frame, score, found))
        self.chosen.sort(key=lambda one: one.index)


def key_frames(limit: int, duration_s: float | None) -> KeyFrames:
    """An empty choice of at most `limit` frames for a video that is expected to last `duration_s`."""
    if not duration_s or not limit:
        return KeyFrames(limit, GAP_S_WITHOUT_DURATION)
    return KeyFrames(limit, max(LEAST_GAP_S, duration_s / (4 * limit)))


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
