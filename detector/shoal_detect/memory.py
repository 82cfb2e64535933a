"""How many processes fit into this container's memory: fewer are better than the kernel's killer."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from shoal_detect import control_groups

KEEPER_BYTES = 60_000_000
"""Of the process that keeps the run."""
WORKER_BYTES = 750_000_000
"""Of one that works on videos, with YOLOv5s: 734 MB were measured with 4K pictures, 270 with 640 x 480."""
WEIGHTS_BYTES = 30_000_000
"""Of YOLOv5s' file; a larger model takes its size several times, as read, as packed for the processor, and at work."""
WEIGHTS_COPIES = 4
UNLIMITED_BYTES = 1 << 60
"""Version 1 of the control groups writes a number near 2^63 where there is no limit."""


def limit_bytes(cgroup_root: Path = control_groups.ROOT, proc_self: Path = control_groups.PROC_SELF) -> int | None:
    """The tightest limit among the process's own groups and those above them; None without one."""
    limits = []
    for folder in control_groups.folders("memory", cgroup_root, proc_self):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # not there, or "max"
                limits.append(int((folder / name).read_text(encoding="ascii")))
    return min((limit for limit in limits if limit < UNLIMITED_BYTES), default=None)


def processes_within(limit: int | None, wanted: int, weights_bytes: int) -> int:
    """At most `wanted` processes, at least 1, with a model whose file has so many bytes."""
    if limit is None:
        return wanted
    each = WORKER_BYTES + WEIGHTS_COPIES * max(0, weights_bytes - WEIGHTS_BYTES)
    return max(1, min(wanted, (limit - KEEPER_BYTES) // each))
