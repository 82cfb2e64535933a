"""How many processes fit into this container's memory: fewer are better than the kernel's killer."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shoal_detect import control_groups

KEEPER_BYTES = 60_000_000
"""Of the process that keeps the run."""
PROCESS_BYTES = 380_000_000
"""Of one that works on videos, its pictures left out: 359 MB were measured with YOLOv5s, bfloat16 and 640 x 480."""
PICTURES_STORED = 28
"""As the decoder gives them: up to 16 that others refer to (H.264 A.3.1, H.265 A.4.2), those decoded ahead, and what
the allocator keeps for more."""
PICTURES_CONVERTED = 4
"""Of three bytes a pixel."""
WEIGHTS_BYTES = 30_000_000
"""Of YOLOv5s' file; a larger model takes its size several times, as read, as packed for the processor, and at work."""
WEIGHTS_COPIES = 4
UNLIMITED_BYTES = 1 << 60
"""Version 1 of the control groups writes a number near 2^63 where there is no limit."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture of a recording takes."""

    pixels: int
    stored_bytes: int
    """As the decoder gives it: 1.5 bytes a pixel in most recordings, 3 in those of 10 bits."""


UHD = Picture(3840 * 2160, 3840 * 2160 * 3 // 2)
"""What cameras have at most, by and large: where it is not known what comes."""
LARGEST = Picture(1 << 25, 6 << 25)
"""Larger ones are not read."""


def limit_bytes(cgroup_root: Path = control_groups.ROOT, proc_self: Path = control_groups.PROC_SELF) -> int | None:
    """The tightest limit among the process's own groups and those above them; None without one."""
    limits = []
    for folder in control_groups.folders("memory", cgroup_root, proc_self):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # not there, or "max"
                limits.append(int((folder / name).read_text(encoding="ascii")))
    return min((limit for limit in limits if limit < UNLIMITED_BYTES), default=None)


def killed(cgroup_root: Path = control_groups.ROOT, proc_self: Path = control_groups.PROC_SELF) -> int:
    """How many processes of this process's own group the kernel killed for want of memory; 0 where it does not say."""
    for folder in control_groups.folders("memory", cgroup_root, proc_self):
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError, ValueError):
                text = (folder / name).read_text(encoding="ascii")
                counts = dict(line.split(" ", 1) for line in text.splitlines())
                if "oom_kill" in counts:
                    return int(counts["oom_kill"])
    return 0


def worker_bytes(weights_bytes: int, largest: Picture) -> int:
    """What a process takes that works on videos, with a model whose file has so many bytes and pictures up to these.

    docs/speed.md has the peaks that were measured, all below it.
    """
    pictures = PICTURES_STORED * largest.stored_bytes + PICTURES_CONVERTED * 3 * largest.pixels
    return PROCESS_BYTES + pictures + WEIGHTS_COPIES * max(0, weights_bytes - WEIGHTS_BYTES)


def processes_within(limit: int | None, wanted: int, weights_bytes: int, largest: Picture = UHD) -> int:
    """At most `wanted` processes, at least 1."""
    if limit is None:
        return wanted
    return max(1, min(wanted, (limit - KEEPER_BYTES) // worker_bytes(weights_bytes, largest)))
