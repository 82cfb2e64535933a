"""Reads a video's detections back, as arrays: what tracks are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_detect.events.cameras import SAME_S, Camera

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """The detections of one frame of a camera."""

    time_s: float
    """Camera time."""
    boxes: FloatArray
    """[n, 4] left, top, right, bottom in fractions of the picture."""
    confidence: FloatArray
    class_id: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Detections:
    """All detections of a video, in order."""

    frame: npt.NDArray[np.int64]
    time_s: FloatArray
    class_id: npt.NDArray[np.int64]
    confidence: FloatArray
    boxes: FloatArray
    """In fractions of the picture."""

    def steady(self, fps: float | None) -> bool:
        """Whether all frames keep to the rate."""
        return bool(fps) and bool(np.all(np.abs(self.frame / float(fps or 1) - self.time_s) <= SAME_S))


def read_detections(folder: Path, summary: dict[str, Any]) -> Detections:
    """Those of a finished video's folder. Raises OSError."""
    rows: list[tuple[float, ...]] = []
    with (folder / "detections.jsonl").open("rb") as stream:
        for line in stream:
            one = json.loads(line)
            rows.append((one["frame"], one["time_s"], one["class_id"], one["confidence"], *one["box"]))
    table = np.array(rows, dtype=np.float64).reshape(-1, 8)
    frame = table[:, 0].astype(np.int64)
    return Detections(
        frame, table[:, 1], table[:, 2].astype(np.int64), table[:, 3], table[:, 4:] / _sizes(frame, summary)
    )


def _sizes(frame: npt.NDArray[np.int64], summary: dict[str, Any]) -> FloatArray:
    """Width, height, width, height of the picture of every detection."""
    first = {"frame": 0, "width": summary["width"] or 1, "height": summary["height"] or 1}
    sizes = [first, *summary.get("sizes", [])]
    begins = np.array([one["frame"] for one in sizes])
    table = np.array([[one["width"], one["height"]] * 2 for one in sizes], dtype=np.float64)
    which: FloatArray = table[np.searchsorted(begins, frame, side="right") - 1]
    return which


def frames_of(camera: Camera, detections: dict[str, Detections]) -> Iterator[Seen]:
    """The frames of a camera that have detections, in order of time; `detections` are by video id."""
    for part in camera.parts:
        found = detections[part.summary["video_id"]]
        starts = np.flatnonzero(np.diff(found.frame, prepend=-1))
        for start, end in zip(starts, [*starts, len(found.frame)][1:], strict=True):
            time_s = part.time_s(int(found.frame[start]), float(found.time_s[start]))
            rows = slice(start, end)
            yield Seen(time_s, found.boxes[rows], found.confidence[rows], found.class_id[rows])
