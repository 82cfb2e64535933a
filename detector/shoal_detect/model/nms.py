"""From a YOLOv5 output row per anchor to a few boxes: confidence, class choice, and suppression of doubles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Detections of one frame, most confident first."""

    xyxy: FloatArray
    """[n, 4] left, top, right, bottom."""
    confidence: FloatArray
    """[n], object confidence times class confidence."""
    class_id: IntArray
    """[n]."""

    def __len__(self) -> int:
        return len(self.confidence)


def select(rows: FloatArray, *, conf: float, iou: float, classes: Sequence[int] | None, max_detections: int) -> Boxes:
    """Boxes from the model's rows [n, 85]: centre x and y, width, height, object confidence, 80 class scores.

    Every row gets its best class; rows not above `conf` or of other than the wanted classes are dropped; of two boxes
    of one class that overlap by more than `iou` the less confident goes. The order depends on nothing but the rows.
    """
    rows = rows[rows[:, 4] > conf]  # a class score is at most 1, so these cannot pass below either
    scores = rows[:, 5:] * rows[:, 4:5]
    class_id = scores.argmax(axis=1)
    confidence = scores[np.arange(len(rows)), class_id]
    wanted = confidence > conf
    if classes is not None:
        wanted &= np.isin(class_id, list(classes))
    # A box with a side of nothing, infinity or NaN is no detection, and would make the overlap below meaningless.
    wanted &= np.isfinite(rows[:, :4]).all(axis=1) & (rows[:, 2:4] > 0).all(axis=1)
    rows, class_id, confidence = rows[wanted], class_id[wanted], confidence[wanted]

    order = np.argsort(-confidence, kind="stable")
    xyxy = corners(rows[order, :4])
    class_id, confidence = class_id[order].astype(np.int64), confidence[order]
    kept = suppress(xyxy, class_id, iou, max_detections)
    return Boxes(xyxy[kept], confidence[kept], class_id[kept])


def corners(xywh: FloatArray) -> FloatArray:
    """[n, 4] centre and size to left, top, right, bottom."""
    half = xywh[:, 2:] / 2
    return np.concatenate([xywh[:, :2] - half, xywh[:, :2] + half], axis=1)


def overlap(box: FloatArray, others: FloatArray) -> FloatArray:
    """Intersection over union of one box [4] with others [n, 4]."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    union = area + areas - shared
    # A box far away and very small can have an area of nothing in float32.
    ratio: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def suppress(xyxy: FloatArray, class_id: IntArray, iou: float, limit: int) -> IntArray:
    """Indexes of the boxes that stay, at most `limit`. The boxes come most confident first."""
    kept: list[int] = []
    left = np.arange(len(xyxy))
    while len(left) and len(kept) < limit:
        best, left = left[0], left[1:]
        kept.append(int(best))
        doubles = (class_id[left] == class_id[best]) & (overlap(xyxy[best], xyxy[left]) > iou)
        left = left[~doubles]
    return np.array(kept, dtype=np.int64)
