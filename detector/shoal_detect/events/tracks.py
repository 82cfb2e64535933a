"""Tracks: one object over time, from boxes alone.

A detection goes to the track whose next place it is nearest to: distance of the bottom centres and difference of the
sizes, both measured in the size of the box, as Frigate's tracker does (`frigate/track/norfair_tracker.py`), with the
overlap of the boxes. All spans are seconds of video time, so it works alike at 2 and at 30 frames a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shoal_detect.events.sightings import FloatArray, Seen
from shoal_detect.model.classes import NAMES

ALIKE = (("car", "truck", "bus", "train"), ("bicycle", "motorcycle"))
"""Classes that a model takes for each other from one frame to the next."""
LOST_S = 3.0
"""Not seen for so long, it is gone."""
REACH, REACH_PER_S, REACH_MOST = 0.5, 2.5, 3.0
"""How far, in widths and heights of its box, an object may be from where it is expected; how much further with every
second since it was seen; and the most."""
REACH_FIRST = 1.0
"""And how much further where it was seen once only: its speed is not known yet."""
SIZE_RATIO = 2.5
"""A box may become so many times as wide or as high from one sight to the next."""
SAME_PLACE = 0.3
"""Boxes that overlap by more (intersection over union) belong together, however their sizes changed."""
BIRTH_HITS = 3
BIRTH_S = 0.4
"""A track is real after so many sights, or after two that lie so far apart: at 2 frames a second three are too many."""
MEMORY_S = 0.5
"""Its speed is that over so long."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is still known of sights of a track that were let go, and how it was when they ended."""

    sights: int
    class_sums: dict[int, float]
    """Sums of confidences by class id."""
    surest: tuple[float, ...]
    """The highest confidences, as many as make a track."""
    tall: float
    """Height of its largest box."""
    context: int
    """Its first sights that are still there are known already: they are there for comparison alone."""
    asleep: bool
    has_moved: bool
    place: tuple[float, ...]
    place_s: float


@dataclass
class Track:
    """One object. Boxes are in fractions of the picture."""

    number: int
    """Within its camera, from 1; 0 until it is real."""
    group: int
    times: list[float] = field(default_factory=list)
    boxes: list[npt.NDArray[np.float64]] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    class_ids: list[int] = field(default_factory=list)
    past: Past | None = None
    stills: dict[float, npt.NDArray[np.float64] | None] = field(default_factory=dict, repr=False, compare=False)
    """Where it stood still at a time, as far as that was asked for (`scene.walk`)."""

    @property
    def is_real(self) -> bool:
        """Whether it was seen often enough."""
        return (
            self.number > 0
            or len(self.times) >= BIRTH_HITS
            or (len(self.times) >= 2 and self.times[-1] - self.times[0] >= BIRTH_S)
        )

    @property
    def class_name(self) -> str:
        """The class with the largest sum of confidences; of equal ones the first by id."""
        sums = np.bincount(self.class_ids, weights=self.confidence, minlength=len(NAMES))
        for class_id, confidence in (self.past.class_sums if self.past else {}).items():
            sums[class_id] += confidence
        return NAMES[int(sums.argmax())]

    def add(self, time_s: float, box: npt.NDArray[np.float64], confidence: float, class_id: int) -> None:
        """One more sight."""
        self.times.append(time_s)
        self.boxes.append(box)
        self.confidence.append(confidence)
        self.class_ids.append(class_id)

    def expected(self, time_s: float) -> npt.NDArray[np.float64]:
        """Its box at a later time, moved on at its speed for at most a second."""
        return self.boxes[-1] + shift(self.speed(), min(time_s - self.times[-1], 1.0))

    def speed(self) -> tuple[float, float]:
        """Of its bottom centre, in fractions of the picture a second, over the last `MEMORY_S`."""
        first = len(self.times) - 1
        while first > 0 and self.times[-1] - self.times[first - 1] <= MEMORY_S:
            first -= 1
        span_s = self.times[-1] - self.times[first]
        if span_s <= 0:
            return 0.0, 0.0
        move = foot(self.boxes[-1]) - foot(self.boxes[first])
        return float(move[0] / span_s), float(move[1] / span_s)


def foot(box: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Bottom centre of boxes [..., 4]."""
    return np.stack([(box[..., 0] + box[..., 2]) / 2, box[..., 3]], axis=-1)


def shift(speed: tuple[float, float], span_s: float) -> npt.NDArray[np.float64]:
    """What a box [4] moves by in a span."""
    return np.array([speed[0], speed[1]] * 2) * span_s


def overlap(one: FloatArray, other: FloatArray) -> FloatArray:
    """Intersection over union of boxes [n, 4] with boxes [m, 4]: [n, m]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    ratio: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def group_of(class_id: int) -> int:
    """A number that classes share which are taken for each other."""
    for names in ALIKE:
        if NAMES[class_id] in names:
            return NAMES.index(names[0])
    return class_id


@dataclass
class Tracker:
    """Takes the frames of a camera in order of time."""

    live: list[Track] = field(default_factory=list)
    real: int = 0
    """How many were real so far."""

    def take(self, seen: Seen) -> None:
        """Give every detection of a frame to a track, an old one or a new."""
        self.live = [track for track in self.live if seen.time_s - track.times[-1] <= LOST_S]
        groups = np.array([group_of(int(class_id)) for class_id in seen.class_id])
        free = self._match(seen, groups)
        for index in free:
            self.live.append(Track(0, int(groups[index])))
            self._add(self.live[-1], seen, index)

    def _match(self, seen: Seen, groups: npt.NDArray[np.int64]) -> list[int]:
        """Give detections to the tracks that are there; the indexes of those left over."""
        free = list(range(len(groups)))
        if not self.live or not free:
            return free
        cost = self._costs(seen, groups)
        taken = []
        # The best pair first; ties go to the older track and the more confident detection.
        order = np.argsort(cost, axis=None, kind="stable")
        for flat in order[: np.count_nonzero(np.isfinite(cost))]:
            track, index = divmod(int(flat), len(groups))
            if track not in taken and index in free:
                taken.append(track)
                free.remove(index)
                self._add(self.live[track], seen, index)
        return free

    def _costs(self, seen: Seen, groups: npt.NDArray[np.int64]) -> FloatArray:
        """How badly each track fits each detection [tracks, detections]; infinity: not at all."""
        expected = np.array([track.expected(seen.time_s) for track in self.live])
        last = np.array([track.boxes[-1] for track in self.live])
        since_s = np.array([seen.time_s - track.times[-1] for track in self.live])
        size, sizes = (np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6) for boxes in (last, seen.boxes))
        move = foot(seen.boxes)[None, :, :] - foot(expected)[:, None, :]
        move /= np.maximum(size[:, None, :], sizes[None, :, :])
        distance = np.hypot(move[..., 0], move[..., 1])
        ratio = np.abs(np.log(sizes[None, :, :] / size[:, None, :]))
        same = np.maximum(overlap(expected, seen.boxes), overlap(last, seen.boxes))
        lone = np.array([len(track.times) == 1 for track in self.live])
        reach = np.minimum(REACH + REACH_PER_S * since_s + REACH_FIRST * lone, REACH_MOST)[:, None]
        fits = (distance <= reach) & (ratio.max(axis=2) <= np.log(SIZE_RATIO)) | (same >= SAME_PLACE)
        fits &= np.array([track.group for track in self.live])[:, None] == groups[None, :]
        cost: FloatArray = np.where(fits, distance + 0.3 * ratio.sum(axis=2) - same, np.inf)
        return cost

    def _add(self, track: Track, seen: Seen, index: int) -> None:
        track.add(seen.time_s, seen.boxes[index], float(seen.confidence[index]), int(seen.class_id[index]))
        if track.number == 0 and track.is_real:
            self.real += 1
            track.number = self.real


def tracks(frames: Iterable[Seen]) -> Iterator[Track]:
    """All real tracks of a camera, as they end; those that end together in the order of their births."""
    tracker = Tracker()
    for seen in frames:
        before = tracker.live
        tracker.take(seen)
        still = {id(track) for track in tracker.live}
        yield from (track for track in before if id(track) not in still and track.is_real)
    yield from (track for track in tracker.live if track.is_real)
