"""Where a clip is covered: boxes of every frame, from what a detector saw in all of them.

A single frame in which a person is missed undoes a mask, so what was seen before and after counts too: boxes become
tracks, and a frame is covered with the hull of its tracks' boxes in the frames around it, grown; gaps are bridged, and
the cover is held before the first and after the last sight, moved on at the object's speed. Covering too much is the
error that is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoal_detect.events.sightings import Seen
from shoal_detect.events.tracks import MEMORY_S, Track, Tracker, foot, shift

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cover:
    """How generously is covered. Lengths are in seconds or in widths and heights of a box."""

    union_s: float = 0.35
    """Boxes so long before and after a frame belong to its hull."""
    hold_s: float = 1.2
    """Before the first and after the last sight."""
    grow_x: float = 0.18
    grow_y: float = 0.10
    hold_grow: float = 0.35
    """Added to the growth by the end of the hold,"""
    lone_grow: float = 1.5
    """and to that of an object seen once only, whose speed is not known."""
    border: float = 0.75
    """A held cover that is so near to the border reaches it: most objects come and go there."""
    sure: float = 0.25
    """An object that no sight shows with so much confidence, and fewer than `hits` show at all, is covered where it was
    seen and no longer."""
    hits: int = 3


COVER = Cover()


def plan(times_s: Sequence[float], seen: Sequence[Seen], cover: Cover = COVER) -> list[FloatArray]:
    """Boxes [n, 4] in fractions of the picture that cover each of the frames at `times_s`.

    `seen` has the frames in which something was seen, in order of time; it may begin earlier and end later.
    """
    times = np.array(times_s, dtype=np.float64)
    boxes: list[list[FloatArray]] = [[] for _ in times_s]
    for track in _all_tracks(seen):
        for index, box in _covered(track, times, cover):
            boxes[index].append(box)
    return [np.array(one, dtype=np.float64).reshape(-1, 4) for one in boxes]


def _all_tracks(seen: Sequence[Seen]) -> list[Track]:
    tracker, found = Tracker(), dict[int, Track]()
    for one in seen:
        tracker.take(one)
        found.update((id(track), track) for track in tracker.live)
    return list(found.values())


def _covered(track: Track, times: FloatArray, cover: Cover) -> Iterator[tuple[int, FloatArray]]:
    seen_s, boxes = np.array(track.times), np.array(track.boxes)
    firm = max(track.confidence) >= cover.sure or len(seen_s) >= cover.hits
    hold_s = cover.hold_s if firm else cover.union_s
    first, last = np.searchsorted(times, [seen_s[0] - hold_s, seen_s[-1] + hold_s])
    speeds = _Speeds.of(seen_s, boxes)
    for index in range(int(first), min(int(last) + 1, len(times))):
        time_s = float(times[index])
        if not seen_s[0] - hold_s <= time_s <= seen_s[-1] + hold_s:
            continue
        yield index, _box(time_s, seen_s, boxes, speeds, cover)


@dataclass(frozen=True, slots=True)
class _Speeds:
    """Of an object at every sight, looking back and looking ahead; zero where there is nothing to tell it from."""

    back: FloatArray
    ahead: FloatArray
    lone: bool

    @classmethod
    def of(cls, seen_s: FloatArray, boxes: FloatArray) -> _Speeds:
        feet = foot(boxes)
        first = np.searchsorted(seen_s, seen_s - MEMORY_S)
        last = np.searchsorted(seen_s, seen_s + MEMORY_S, side="right") - 1
        here = np.arange(len(seen_s))

        def between(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> FloatArray:
            span = np.maximum(seen_s[other] - seen_s[one], 1e-9)[:, None]
            moved: FloatArray = np.where(span > 1e-6, (feet[other] - feet[one]) / span, 0.0)
            return moved

        return cls(between(first, here), between(here, last), len(seen_s) == 1)


def _box(time_s: float, seen_s: FloatArray, boxes: FloatArray, speeds: _Speeds, cover: Cover) -> FloatArray:
    near = boxes[np.abs(seen_s - time_s) <= cover.union_s]
    before = int(np.searchsorted(seen_s, time_s, side="right")) - 1
    after = int(np.searchsorted(seen_s, time_s, side="left"))
    hull, held = [*near], 0.0
    if before >= 0 and (after >= len(boxes) or before < after):
        span_s = time_s - seen_s[before]
        hull += [boxes[before], boxes[before] + _moved(speeds.back[before], span_s)]
        held = span_s if after >= len(boxes) else 0.0
    if after < len(boxes) and before < after:
        span_s = seen_s[after] - time_s
        hull += [boxes[after], boxes[after] + _moved(speeds.ahead[after], -span_s)]
        held = span_s if before < 0 else 0.0
    whole = np.array(hull)
    size = (whole[:, 2:] - whole[:, :2]).max(axis=0)
    grow = np.array([cover.grow_x, cover.grow_y])
    if held:
        share = min(1.0, held / cover.hold_s)
        grow = grow + (cover.lone_grow if speeds.lone else cover.hold_grow) * share
    low, high = whole[:, :2].min(axis=0) - size * grow, whole[:, 2:].max(axis=0) + size * grow
    if held:
        low = np.where(low <= size * cover.border, 0.0, low)
        high = np.where(high >= 1 - size * cover.border, 1.0, high)
    whole_box: FloatArray = np.clip(np.concatenate([low, high]), 0.0, 1.0)
    return whole_box


def _moved(speed: FloatArray, span_s: float) -> FloatArray:
    return shift((float(speed[0]), float(speed[1])), float(np.clip(span_s, -1.5, 1.5)))


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle in pixels; right and bottom are outside of it."""

    left: int
    top: int
    right: int
    bottom: int


GUARD_PX, ALIGN_PX = 4, 8
"""Painted is more than planned: by what an encoder's deblocking filter may change beside an edge (3 pixels, ITU-T H.264
8.7), and out to the grid of its transforms, so that no block holds both the fill and something else."""


def planned(boxes: FloatArray, width: int, height: int) -> list[Rect]:
    """The pixels that have to be fill."""
    size = np.array([width, height] * 2)
    corners = np.concatenate([np.floor(boxes[:, :2] * size[:2]), np.ceil(boxes[:, 2:] * size[2:])], axis=1).astype(int)
    return [Rect(*(int(edge) for edge in one)) for one in corners if one[0] < one[2] and one[1] < one[3]]


def painted(rect: Rect, width: int, height: int) -> Rect:
    """What is filled for it."""
    return Rect(
        max(0, (rect.left - GUARD_PX) // ALIGN_PX * ALIGN_PX),
        max(0, (rect.top - GUARD_PX) // ALIGN_PX * ALIGN_PX),
        min(width, -(-(rect.right + GUARD_PX) // ALIGN_PX) * ALIGN_PX),
        min(height, -(-(rect.bottom + GUARD_PX) // ALIGN_PX) * ALIGN_PX),
    )
