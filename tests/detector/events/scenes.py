"""Detections and footage of things that move as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from shoal_detect.events.sightings import Seen
from shoal_detect.model.classes import NAMES

Box = tuple[float, float, float, float]
Way = Callable[[float], Box | None]
"""Box in fractions of the picture at a time; None: not seen."""


def walk(start: tuple[float, float], speed: tuple[float, float], *, size: tuple[float, float] = (0.05, 0.15)) -> Way:
    """Somebody who walks on, bottom centre from `start`, in fractions a second."""

    def at(time_s: float) -> Box | None:
        x, y = start[0] + speed[0] * time_s, start[1] + speed[1] * time_s
        box = (x - size[0] / 2, y - size[1], x + size[0] / 2, y)
        if box[2] <= 0 or box[0] >= 1:
            return None
        return max(0.0, box[0]), max(0.0, box[1]), min(1.0, box[2]), min(1.0, box[3])

    return at


def stands(box: Box, *, jitter: float = 0.0, seed: int = 1) -> Way:
    """Something that stays; its box flickers by so much of its size."""
    random = np.random.default_rng(seed)
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2)

    def at(_time_s: float) -> Box:
        left, top, right, bottom = np.array(box) + random.normal(0, jitter, 4) * size
        return float(left), float(top), float(right), float(bottom)

    return at


def between(way: Way, start_s: float, end_s: float) -> Way:
    """The same way, seen only for a time; it begins when it is first seen."""
    return lambda time_s: way(time_s - start_s) if start_s <= time_s <= end_s else None


def seen(
    things: Iterable[tuple[str, Way]],
    *,
    seconds: float,
    fps: float = 10.0,
    confidence: float = 0.8,
    first_s: float = 0.0,
) -> list[Seen]:
    """What a detector sees of them, frame by frame; frames without anything are left out, as in detections.jsonl."""
    things = list(things)
    frames = []
    for number in range(round(seconds * fps)):
        time_s = round(first_s + number / fps, 3)
        boxes = [(NAMES.index(name), box) for name, way in things if (box := way(time_s)) is not None]
        if boxes:
            frames.append(sight(time_s, [box for _, box in boxes], [class_id for class_id, _ in boxes], confidence))
    return frames


def sight(time_s: float, boxes: Sequence[Box], class_ids: Sequence[int], confidence: float = 0.8) -> Seen:
    """One frame's."""
    return Seen(
        time_s,
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.full(len(boxes), confidence),
        np.array(class_ids, dtype=np.int64),
    )


def summary(video: str, *, frames: int, fps: float = 10.0, **more: Any) -> dict[str, Any]:
    """A video's summary, as far as events need it."""
    return {
        "video": video,
        "video_id": video.replace("/", "-").replace(".", "-").lower(),
        "size_bytes": 1000,
        "width": 640,
        "height": 480,
        "fps": fps,
        "frames": frames,
        "duration_s": round(frames / fps, 3),
        "decode_errors": 0,
        "recorded_at": None,
        **more,
    }
