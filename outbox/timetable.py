"""The bandwidth timetable: rclone's own form (`08:00,512k Sat-10:00,off`) and `pause`, while which nothing is begun.

Times are the node's local ones, as rclone reads them.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PAUSE = "pause"
UNLIMITED = "off"
_SLOT = re.compile(
    r"(?:(?P<day>mon|tue|wed|thu|fri|sat|sun)[a-z]*-)?(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d),"
    r"(?P<rate>off|pause|[1-9]\d{0,8}(?:\.\d{1,3})?[kmg]?)",
    re.IGNORECASE,
)
_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES


class TimetableError(ValueError):
    """A timetable that cannot be read; the message says which part of it."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """Rates from minutes of the week on (Monday 00:00 is 0), in order."""

    slots: tuple[tuple[int, str], ...] = ()

    def rate(self, now_s: float) -> str:
        """What holds now: a rate as rclone takes it (bytes a second with k, M, G of 1024), `off` or `pause`."""
        if not self.slots:
            return UNLIMITED
        local = time.localtime(now_s)
        minute = local.tm_wday * _DAY_MINUTES + local.tm_hour * 60 + local.tm_min
        before = [rate for start, rate in self.slots if start <= minute]
        return before[-1] if before else self.slots[-1][1]

    def for_rclone(self, now_s: float) -> str:
        """The value of `--bwlimit`. What was begun before a pause goes to its end, at the rate that it was begun at."""
        if not self.slots:
            return ""
        begun = self.rate(now_s)
        return " ".join(
            f"{DAYS[start // _DAY_MINUTES].title()}-{start % _DAY_MINUTES // 60:02}:{start % 60:02},"
            f"{begun if rate == PAUSE else rate}"
            for start, rate in self.slots
        )


def parse(text: str) -> Timetable:
    """The timetable of its text; a slot without a day holds on each. Raises TimetableError."""
    if not text.strip():
        return Timetable()
    if re.fullmatch(r"off|[1-9]\d{0,8}(?:\.\d{1,3})?[kmg]?", text.strip(), re.IGNORECASE):
        return Timetable(((0, text.strip().lower()),))
    slots: dict[int, str] = {}
    for word in text.split():
        match = _SLOT.fullmatch(word)
        if match is None:
            raise TimetableError(
                f"timetable: {word!r} is none of HH:MM,RATE and DAY-HH:MM,RATE, with RATE as 512k, 2M, off or pause"
            )
        minute = int(match["hour"]) * 60 + int(match["minute"])
        days = [DAYS.index(match["day"].lower())] if match["day"] else range(7)
        for day in days:
            start = day * _DAY_MINUTES + minute
            if start in slots:
                raise TimetableError(f"timetable: {word!r} comes at a time that is given twice")
            slots[start] = match["rate"].lower()
    return Timetable(tuple(sorted(slots.items())))
