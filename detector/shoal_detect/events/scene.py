"""When an object is active and when it is part of the scene.

What has not moved for `still_s` is part of the scene until it moves: its boxes overlap their median (as Frigate's
`stationary_classifier.py` has it: mean and median intersection over union of at least 0.6). That something moved must
hold over several sights, and the picture of its old place must have changed, so that a box that flickers (headlights,
somebody who walks past in front) or is another object's moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoal_detect.events.tracks import Track, overlap

STILL_IOU = 0.6
"""Mean and median overlap of the boxes of something that stands still with their median box."""
MOVED_IOU = 0.5
"""A box that overlaps the old place by less has perhaps moved: if it did, the picture there is another one."""
MOVED_SIGHTS, MOVED_S = 3, 0.4
"""So many sights in a row, over at least so long, have to agree (two where they lie a second apart)."""
SETTLE_SIGHTS = 5
"""The place of something is the median of so many boxes."""
STANDS_S = 1.0
ASK_AGAIN_S = 1.0
"""Where the picture said no, it is not asked again for so long."""

Unmoved = Callable[[float, float, npt.NDArray[np.float64]], bool | None]
"""Whether the picture inside a box [4] is the same at two camera times; None where it cannot be seen."""
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Activity:
    """When a track was more than a part of the scene, in camera time."""

    awake: npt.NDArray[np.bool_]
    """Of every sight: it had not stood still for long."""
    moved: npt.NDArray[np.bool_]
    """Of every sight: it belongs to a stay in the picture in which it moved, and had not stood still for long."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A track's sights gone through in order, and how it is at the end."""

    activity: Activity
    asleep: bool
    since_s: float
    """What is said of it from here on may change yet: its first sight since it woke, or since it seems to leave."""
    settled: tuple[int, bool, bool, npt.NDArray[np.float64], float]
    """Index of the last sight, of those asked for, at which it was where it was before; whether it was asleep and had
    moved then; its place and the time of that."""


def activity(track: Track, still_s: float, unmoved: Unmoved, *, moves: bool) -> Activity:
    """Go through a track's sights in order. Without `moves` a track that is awake is not asked whether it moved."""
    return walk(track, still_s, unmoved, moves=moves).activity


def walk(track: Track, still_s: float, unmoved: Unmoved, *, moves: bool, settled_s: float = math.inf) -> Walk:
    """As `activity`; `settled` is that at `settled_s` at the latest."""
    times, boxes = np.array(track.times), np.array(track.boxes)
    awake, moved = np.zeros(len(times), dtype=bool), np.zeros(len(times), dtype=bool)
    if track.past is None:
        place = np.median(boxes[:SETTLE_SIGHTS], axis=0)
        place_s = float(times[min(len(times), SETTLE_SIGHTS) // 2])
        asleep = has_moved = False
        begin = 0
    else:
        asleep, has_moved, begin = track.past.asleep, track.past.has_moved, track.past.context
        place, place_s = np.array(track.past.place), track.past.place_s
    since = begin
    leaving = 0
    asked_s = -math.inf
    settled = (begin - 1, asleep, has_moved, place, place_s)
    for index in range(begin, len(times)):
        here = _shared(track.boxes[index], place)
        leaving = leaving + 1 if here < MOVED_IOU else 0
        open_question = asleep or (moves and not has_moved)
        if leaving and open_question and _lasts(times, index, leaving) and times[index] - asked_s >= ASK_AGAIN_S:
            if unmoved(place_s, float(times[index]), place) is True:
                asked_s = float(times[index])
            else:
                first = index - leaving + 1
                # Awake, it was on its way all the time since it came; asleep, since it left its place.
                moved[first if asleep else since : index] = True
                awake[first:index] = True
                since = first if asleep else since
                asleep, has_moved, leaving = False, True, 0
        if track.times[index] not in track.stills:
            track.stills[track.times[index]] = _still(times, boxes, index, still_s)
        still = track.stills[track.times[index]]
        if still is not None and not (asleep and leaving):
            asleep, has_moved, leaving, place, place_s = True, False, 0, still, float(times[index])
            since = index + 1
        awake[index] = not asleep
        moved[index] = has_moved and not asleep
        if not leaving and times[index] <= settled_s:
            settled = (index, asleep, has_moved, place, place_s)
    first_open = min(len(times) - leaving, len(times) if asleep else since)
    since_s = float(times[first_open]) if first_open < len(times) else math.inf
    return Walk(Activity(awake, moved), asleep, since_s, settled)


def _shared(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """`overlap` of two boxes [4]: numpy takes longer for so little."""
    left, top, right, bottom = one.tolist()
    other_left, other_top, other_right, other_bottom = other.tolist()
    width = max(0.0, min(right, other_right) - max(left, other_left))
    height = max(0.0, min(bottom, other_bottom) - max(top, other_top))
    areas = (right - left) * (bottom - top), (other_right - other_left) * (other_bottom - other_top)
    union = areas[0] + areas[1] - width * height
    return width * height / union if union > 0 else 0.0


def _lasts(times: npt.NDArray[np.float64], index: int, count: int) -> bool:
    span_s = times[index] - times[index - count + 1]
    return bool((count >= MOVED_SIGHTS and span_s >= MOVED_S) or (count >= 2 and span_s >= STANDS_S))


def _still(
    times: npt.NDArray[np.float64], boxes: npt.NDArray[np.float64], index: int, still_s: float
) -> npt.NDArray[np.float64] | None:
    """Its place, where it has stood still for `still_s` up to now."""
    first = int(np.searchsorted(times, times[index] - still_s, side="right")) - 1
    if first < 0 or index - first < 2:
        return None
    window = boxes[first : index + 1]
    place: npt.NDArray[np.float64] = np.median(window, axis=0)
    same = overlap(window, place[None, :])[:, 0]
    if same.mean() < STILL_IOU or np.median(same) < STILL_IOU:
        return None
    # What slows down drifts: its first and its last boxes must be of one place too.
    quarter = max(1, len(window) // 4)
    ends = [np.median(part, axis=0)[None, :] for part in (window[:quarter], window[-quarter:])]
    return place if overlap(*ends)[0, 0] >= STILL_IOU else None


def cells_unmoved(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> bool:
    """Whether two grey crops [96, 96] of one place show the same thing.

    In each of 16 cells that has any texture the correlation is taken, which brightness does not change. Something that
    moved changes nearly all of them; somebody in front of it, or a light on it, only some.
    """
    same = textured = 0
    for top in range(0, 96, 24):
        for left in range(0, 96, 24):
            one, other = (crop[top : top + 24, left : left + 24].ravel() for crop in (before, after))
            one, other = one - one.mean(), other - other.mean()
            power = float(np.sqrt((one @ one) * (other @ other)))
            if min(one.std(), other.std()) < LEAST_TEXTURE:
                continue
            textured += 1
            same += float(one @ other) / power >= SAME_CELL
    return textured > 0 and same >= SAME_SHARE * textured


LEAST_TEXTURE = 3.0
"""Standard deviation in grey levels of 255: below it a cell is noise."""
SAME_CELL = 0.8
SAME_SHARE = 0.4
