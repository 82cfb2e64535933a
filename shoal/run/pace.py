"""How fast the nodes of a run go: the time each has left, and which one the others will wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shoal.run.detector_lines import Line, Progress, RunEvent

SILENCE_S = 30.0
"""After so long without a line a node is shown as silent."""
LEAST_S = 5.0
"""An estimate wants at least so much of work before it ..."""
LEAST_SHARE = 0.01
"""... and so much of the footage done in it."""
STRAGGLER_S = 10.0
"""A node is called a straggler where it has at least so much more left than the next one, and ..."""
STRAGGLER_FACTOR = 1.5
"""... so many times as much."""


@dataclass(slots=True)
class Pace:
    """One node's progress in time; times are of a monotonic clock, in seconds."""

    progress: Progress = field(default_factory=Progress)
    heard_s: float | None = None
    """When the last line came."""
    over: bool = False
    _begun_s: float = 0.0
    _begun_share: float | None = None

    def take(self, line: Line, now_s: float) -> bool:
        """Take in a line; whether it is more than a passing figure."""
        self.heard_s, self.over = now_s, False
        self.progress, telling = self.progress.after(line)
        if isinstance(line.event, RunEvent) or self._begun_share is None:
            # Of a next attempt as well: what was done before it took no time of its own.
            self._begun_s, self._begun_share = now_s, self.progress.share
        return telling

    def left_s(self, now_s: float) -> float | None:
        """The time until the node's footage is done, if it goes on as it did; None where nothing can be said yet."""
        share = self.progress.share
        if self.over or share is None or self._begun_share is None:
            return None
        took_s, done = now_s - self._begun_s, share - self._begun_share
        if took_s < LEAST_S or done < LEAST_SHARE:
            return None
        return took_s * (1 - share) / done

    def silent_s(self, now_s: float) -> float | None:
        """For how long no line has come, where that is worth a word."""
        if self.over or self.heard_s is None or now_s - self.heard_s < SILENCE_S:
            return None
        return now_s - self.heard_s


def straggler(paces: Mapping[str, Pace], now_s: float) -> str | None:
    """The node that the others will wait for by a good margin, or wait for already."""
    if len(paces) < 2:
        return None
    at_work = {name: pace for name, pace in paces.items() if not pace.over}
    left = {name: left_s for name, pace in at_work.items() if (left_s := pace.left_s(now_s)) is not None}
    if not left or len(left) < len(at_work):
        return None  # of another one nothing can be said yet
    slowest = max(left, key=lambda name: left[name])
    next_s = max((left_s for name, left_s in left.items() if name != slowest), default=0.0)
    late = left[slowest] - next_s >= STRAGGLER_S and left[slowest] >= STRAGGLER_FACTOR * next_s
    return slowest if late else None


def in_words(duration_s: float) -> str:
    """A time in the unit that fits: `40 s`, `12 min`, `3 h 20 min`."""
    if duration_s < 90:
        return f"{duration_s:.0f} s"
    minutes = round(duration_s / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
