"""Waiting for what changes by itself: looked at again after a pause, until it holds, a deadline, or a cancel.

A deadline is a limit on the waiting, not on the last look: after it there is exactly one more look.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Look:
    """One look of several. `renew` gives the waiting its full time again: something moved."""

    timeout_s: float
    number: int = 0
    """From 1."""
    _deadline: float = math.inf
    last: bool = False
    """Whether no other look follows, because the time is over."""

    @property
    def first(self) -> bool:
        """For what is to be reported once."""
        return self.number == 1

    def renew(self) -> None:
        """Count the time from now on."""
        self._deadline = time.monotonic() + self.timeout_s
        self.last = False


def looks(every_s: float, *, timeout_s: float = math.inf, cancelled: threading.Event | None = None) -> Iterator[Look]:
    """One look at once, then one every `every_s` seconds, the last of them at the deadline; none after `cancelled`.

    `for look in looks(...)` with a `return` or `break` where it holds; what follows the loop is for the deadline and
    the cancel.
    """
    look = Look(timeout_s)
    look.renew()
    while cancelled is None or not cancelled.is_set():
        left_s = look._deadline - time.monotonic()  # of this module's own class
        look.number += 1
        look.last = left_s <= 0
        yield look
        if look.last:
            return
        left_s = look._deadline - time.monotonic()
        pause_s = max(min(every_s, left_s), 0.0)
        if cancelled is None:
            # Not with an event: a Ctrl-C between its steps leaves its lock released, and ends as a RuntimeError.
            time.sleep(pause_s)
        else:
            cancelled.wait(pause_s)


def until(
    holds: Callable[[], T | None],
    *,
    every_s: float,
    timeout_s: float = math.inf,
    cancelled: threading.Event | None = None,
) -> T | None:
    """The first answer of `holds` that is true; None at the deadline, or when `cancelled` is set."""
    for _ in looks(every_s, timeout_s=timeout_s, cancelled=cancelled):
        if found := holds():
            return found
    return None
