"""How well one program's boxes agree with another's: F1 per frame and class, as speed benchmarks of detectors need it.

The measure: in each frame, boxes of one class are matched greedily, the most confident first, each to the unmatched
reference box with the largest overlap, if that is at least the wanted IoU. Micro F1 over all boxes of all frames is
2 * matched / (found + expected). Frames in which neither has a box add nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the frame."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One box in one frame."""

    frame: int
    class_id: int
    confidence: float
    box: Box


@dataclass(slots=True)
class Count:
    """Boxes counted; they add up over classes and clips."""

    matched: int = 0
    found: int = 0
    expected: int = 0

    @property
    def f1(self) -> float:
        """1 where neither side has a box."""
        both = self.found + self.expected
        return 2 * self.matched / both if both else 1.0

    def add(self, other: Count) -> None:
        """Add the boxes of `other`."""
        self.matched += other.matched
        self.found += other.found
        self.expected += other.expected


@dataclass(frozen=True, slots=True)
class Score:
    """The agreement over several clips."""

    total: Count
    clips: Mapping[str, Count]
    classes: Mapping[int, Count]

    def worst_clip(self) -> tuple[str, float]:
        """The clip that agrees least, and its F1."""
        name = min(self.clips, key=lambda one: (self.clips[one].f1, one))
        return name, self.clips[name].f1

    def worst_class(self, least_boxes: int = 200) -> tuple[int, float] | None:
        """The class that agrees least among those with at least `least_boxes` expected boxes, and its F1."""
        large = {name: count for name, count in self.classes.items() if count.expected >= least_boxes}
        if not large:
            return None
        name = min(large, key=lambda one: (large[one].f1, one))
        return name, large[name].f1


@dataclass(slots=True)
class _Sums:
    total: Count = field(default_factory=Count)
    classes: defaultdict[int, Count] = field(default_factory=lambda: defaultdict(Count))


def score(
    found: Mapping[str, Iterable[Detection]], expected: Mapping[str, Iterable[Detection]], *, iou: float = 0.5
) -> Score:
    """The agreement of `found` with `expected`, both by clip. Raises ValueError where the clips differ."""
    if found.keys() != expected.keys():
        raise ValueError(f"not the same clips: {sorted(found.keys() ^ expected.keys())}")
    sums, clips = _Sums(), {}
    for clip in sorted(expected):
        clips[clip] = Count()
        for (_, class_id), (ours, theirs) in _grouped(found[clip], expected[clip]).items():
            count = Count(_matched(ours, theirs, iou), len(ours), len(theirs))
            for sink in (sums.total, sums.classes[class_id], clips[clip]):
                sink.add(count)
    return Score(sums.total, clips, dict(sums.classes))


def _grouped(
    found: Iterable[Detection], expected: Iterable[Detection]
) -> dict[tuple[int, int], tuple[list[Detection], list[Detection]]]:
    groups: dict[tuple[int, int], tuple[list[Detection], list[Detection]]] = {}
    for side, detections in enumerate((found, expected)):
        for one in detections:
            groups.setdefault((one.frame, one.class_id), ([], []))[side].append(one)
    return groups


def _matched(ours: list[Detection], theirs: list[Detection], iou: float) -> int:
    left = list(theirs)
    for one in sorted(ours, key=lambda each: -each.confidence):
        best = max(left, key=lambda other: overlap(one.box, other.box), default=None)
        if best is not None and overlap(one.box, best.box) >= iou:
            left.remove(best)
    return len(theirs) - len(left)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes; 0 where they do not touch."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = ((each[2] - each[0]) * (each[3] - each[1]) for each in (one, other))
    return shared / (sum(areas) - shared)
