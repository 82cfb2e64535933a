"""Where a model sees what has to be covered: any box that may be one, at a lower threshold than detection's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import av
import numpy as np

from shoal_detect.errors import DetectorError
from shoal_detect.events.sightings import Seen
from shoal_detect.model.classes import NAMES
from shoal_detect.model.infer import FloatArray, Model
from shoal_detect.model.letterbox import Fit, Fitter, fit, to_frame
from shoal_detect.model.nms import IntArray, corners, suppress

PEOPLE = ("person",)
VEHICLES = ("bicycle", "car", "motorcycle", "bus", "train", "truck", "boat")
COVERED = {"people": PEOPLE, "people-and-vehicles": (*PEOPLE, *VEHICLES), "off": ()}
"""By the setting of privacy."""
LOW_CONF = 0.10
"""What is covered: far below the threshold at which anything is reported."""
VERIFY_CONF = 0.25
"""What must not be found in a clip that is to leave."""
SAME_IOU = 0.6
MOST = 300
LEAST_SIZE = 640


def covered_classes(privacy: str) -> tuple[int, ...]:
    """Class ids that the setting covers."""
    return tuple(NAMES.index(name) for name in COVERED[privacy])


class Eyes(Protocol):
    """What sees who has to be covered."""

    def look(self, image: av.VideoFrame, time_s: float, pixel_aspect: float = 1.0) -> Seen:
        """What may have to be covered in a frame."""
        ...

    def strict(self) -> Eyes:
        """Eyes for a finished clip: what they see must not be in it."""
        ...


@dataclass
class Looker:
    """Looks at frames with a model."""

    model: Model
    size: int
    """Longer side of the model's input."""
    class_ids: tuple[int, ...]
    conf: float = LOW_CONF
    _fitter: Fitter = field(default_factory=Fitter)

    def look(self, image: av.VideoFrame, time_s: float, pixel_aspect: float = 1.0) -> Seen:
        """What may have to be covered in a frame. Raises av.error.FFmpegError or ValueError where it has no picture."""
        place = fit(image.width, image.height, self.size, pixel_aspect, square=self.model.square)
        rows = self.model.infer(self._fitter.blob(image, place))
        return sighted(rows, place, self.class_ids, time_s, self.conf)

    def strict(self) -> Looker:
        """As `Eyes.strict`."""
        return Looker(self.model, self.size, self.class_ids, VERIFY_CONF)


def sighted(rows: FloatArray, place: Fit, class_ids: tuple[int, ...], time_s: float, conf: float = LOW_CONF) -> Seen:
    """What may have to be covered in a frame, from the model's rows [n, 85] for it."""
    xyxy, confidence, class_id = likely(rows, class_ids, conf)
    size = np.array([place.frame_width, place.frame_height] * 2, dtype=np.float64)
    boxes = to_frame(xyxy, place).astype(np.float64) / size
    good = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    return Seen(time_s, boxes[good], confidence[good].astype(np.float64), class_id[good])


def likely(rows: FloatArray, class_ids: tuple[int, ...], conf: float) -> tuple[FloatArray, FloatArray, IntArray]:
    """Boxes, confidences and class ids of the model's rows [n, 85] that may be one of the classes, whatever else they
    may be more likely: for the detector every box has one class."""
    rows = rows[rows[:, 4] > conf]
    scores = rows[:, 5:][:, list(class_ids)] * rows[:, 4:5]
    best = scores.argmax(axis=1) if len(class_ids) else np.zeros(len(rows), dtype=np.int64)
    confidence = scores.max(axis=1, initial=0.0)
    wanted = (confidence > conf) & np.isfinite(rows[:, :4]).all(axis=1) & (rows[:, 2:4] > 0).all(axis=1)
    rows, best, confidence = rows[wanted], best[wanted], confidence[wanted]
    order = np.argsort(-confidence, kind="stable")
    xyxy, confidence = corners(rows[order, :4]), confidence[order]
    class_id = np.array(class_ids, dtype=np.int64)[best[order]] if len(class_ids) else best[order]
    kept = suppress(xyxy, class_id, SAME_IOU, MOST)
    return xyxy[kept], confidence[kept], class_id[kept]


def model_for_looking(load: Callable[[int], Model], size: int) -> tuple[Model, int]:
    """A model that looks at least as closely as 640 pixels, where the weights can; else at `size`, as they detected."""
    if size >= LEAST_SIZE:
        return load(size), size
    try:
        return load(LEAST_SIZE), LEAST_SIZE
    except DetectorError:
        return load(size), size
