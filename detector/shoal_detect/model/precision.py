"""In which numbers the model computes, and the trial that decides it: on the run's own first frames, by F1 and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

LEAST_F1 = 0.995
"""bfloat16 is taken where its boxes agree so well with float32's (detect.py's own) on the frames of the trial."""
LEAST_BOXES = 50
"""Fewer boxes say too little; float32 is exact anyway."""
LEAST_GAIN = 1.1
"""How much faster it must be: less could be noise, and the same run would not choose the same twice."""
MATCH_IOU = 0.5


class Precision(StrEnum):
    """Numbers of the model's arithmetic."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


AUTO = "auto"
ASKED = (AUTO, *Precision)
"""What may be asked for."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Figures of a trial of bfloat16 against float32."""

    frames: int
    boxes: int
    """Of float32."""
    f1: float
    """4 decimals."""
    float32_ms: float
    """CPU time of the model for a frame: the least of the trial, which other work on the machine disturbs least."""
    bfloat16_ms: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The precision of a run, and why."""

    used: Precision
    why: str
    trial: Trial | None = None

    def document(self) -> dict[str, object]:
        """As it stands in `settings.json` and `summary.json`."""
        return {"used": str(self.used), "why": self.why, "trial": None if self.trial is None else asdict(self.trial)}


def judged(trial: Trial) -> Choice:
    """What a trial decides."""
    gain = trial.float32_ms / trial.bfloat16_ms if trial.bfloat16_ms else 0.0
    if trial.boxes < LEAST_BOXES:
        return Choice(Precision.FLOAT32, f"{trial.boxes} boxes in {trial.frames} frames are too few to judge by", trial)
    if trial.f1 < LEAST_F1:
        return Choice(Precision.FLOAT32, f"F1 {trial.f1} of bfloat16 is under {LEAST_F1}", trial)
    if gain < LEAST_GAIN:
        return Choice(Precision.FLOAT32, f"bfloat16 takes {trial.bfloat16_ms} ms, float32 {trial.float32_ms} ms", trial)
    return Choice(Precision.BFLOAT16, f"F1 {trial.f1} over {trial.boxes} boxes, {gain:.1f} times as fast", trial)


Box = tuple[int, Sequence[float]]
"""Class id, and left, top, right, bottom."""


def matched(found: Sequence[Box], expected: Sequence[Box]) -> int:
    """How many boxes of a frame have a partner of their class, with an overlap of at least MATCH_IOU.

    Both come most confident first, and are matched greedily, as benchmarks of detectors do it.
    """
    left = list(expected)
    for class_id, box in found:
        mates = [other for other in left if other[0] == class_id]
        best = max(mates, key=lambda other: overlap(box, other[1]), default=None)
        if best is not None and overlap(box, best[1]) >= MATCH_IOU:
            left.remove(best)
    return len(expected) - len(left)


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes; 0 where they do not touch."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    first, second = ((each[2] - each[0]) * (each[3] - each[1]) for each in (one, other))
    return shared / (first + second - shared)


def f1(counts: Counter[str]) -> float:
    """2 * matched / (found + expected), 4 decimals; 1 where there is no box on either side."""
    both = counts["found"] + counts["expected"]
    return round(2 * counts["matched"] / both, 4) if both else 1.0
