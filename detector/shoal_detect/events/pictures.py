"""Key frames with people covered, before anything else is drawn on them."""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np

from shoal_detect.events.clip import FILL, OUTSIDE
from shoal_detect.events.look import Eyes
from shoal_detect.events.masks import COVER, painted, plan, planned
from shoal_detect.events.sightings import Seen
from shoal_detect.pictures.annotate import Picture

AROUND_S = 4.0
"""What was seen so long before and after a picture says something about it: a gap that is bridged, and its holds."""
ROUNDS = 3


def covered(picture: Picture, time_s: float, seen: Sequence[Seen], looker: Eyes) -> Picture | None:
    """The picture [height, width, 3] with everybody covered; None where somebody is still seen in it after all."""
    height, width = picture.shape[:2]
    near = [one for one in seen if abs(one.time_s - time_s) <= AROUND_S]
    boxes = plan([time_s], near, COVER)[0]
    strict = looker.strict()
    for _ in range(ROUNDS):
        filled = np.zeros((height, width), dtype=bool)
        for rect in (painted(one, width, height) for one in planned(boxes, width, height)):
            filled[rect.top : rect.bottom, rect.left : rect.right] = True
        safe = picture.copy()
        safe[filled] = FILL[0]
        found = strict.look(av.VideoFrame.from_ndarray(safe, format="rgb24"), time_s)
        open_boxes = [
            box
            for box in found.boxes
            for rect in planned(box[None, :], width, height)
            if 1 - filled[rect.top : rect.bottom, rect.left : rect.right].mean() > OUTSIDE
        ]
        if not open_boxes:
            return safe
        boxes = np.concatenate([boxes, np.array(open_boxes)])
    return None
