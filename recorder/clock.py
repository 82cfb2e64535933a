"""The machine's clock against the time that really goes by: whether somebody set it, and by how much."""

from __future__ import annotations

import time
from pathlib import Path

CHANGED = "clock_changed"
CHANGED_S = 5.0
"""A smaller step is no matter: the seam between two files is as long."""


def offset_s() -> float:
    """What the clock is ahead of the time since boot. It changes when somebody sets the clock, and is another after a
    boot."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def boot() -> str:
    """Stands for this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def words(step_s: float) -> str:
    """What happened, for people.

    >>> words(-3600.4)
    'the clock was set back by 3600 s'
    """
    return f"the clock was set {'forwards' if step_s > 0 else 'back'} by {abs(step_s):.0f} s"
