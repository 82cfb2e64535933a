"""What the control groups of a machine give: less than the machine has, where it is a container or a limited guest.

Docker, the engine and /proc tell the machine's own processors and memory all the same, and runc then refuses a
container that asks for more than the groups above it give.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Version 2 of the kernel's interface first, then version 1 (in its Documentation: admin-guide/cgroup-v2.rst,
# admin-guide/cgroup-v1/memory.rst, scheduler/sched-bwc.rst). No limit is `max`, -1, or a number near 2^63.
SCRIPT = r"""
groups=/sys/fs/cgroup
if [ -r $groups/cpu.max ]; then cat $groups/cpu.max
else echo "$(cat $groups/cpu/cpu.cfs_quota_us) $(cat $groups/cpu/cpu.cfs_period_us)"; fi 2>/dev/null |
    awk '$1 + 0 > 0 && $2 + 0 > 0 { printf "limit-cpus %.3f\n", $1 / $2 }'
{ cat $groups/memory.max || cat $groups/memory/memory.limit_in_bytes; } 2>/dev/null |
    awk '$1 + 0 > 0 && $1 + 0 < 2 ^ 60 { printf "limit-memory %.0f\n", $1 }'
"""
"""A shell script for the machine; prints `limit-cpus N` and `limit-memory BYTES`, each only where there is a limit."""
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")
_CPUS = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m?)")
_LINE = re.compile(r"limit-(cpus|memory) ([0-9]{1,19}(?:\.[0-9]{1,3})?)")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the groups give; None where they give all that there is."""

    cpus: float | None = None
    memory_bytes: int | None = None


def read(lines: list[str]) -> Limits:
    """The limits in what SCRIPT printed; lines that are none are passed over."""
    found = {match[1]: float(match[2]) for line in lines if (match := _LINE.fullmatch(line.strip()))}
    memory = found.get("memory")
    return Limits(found.get("cpus"), None if memory is None else int(memory))


def cpus_within(wanted: str, limits: Limits) -> str:
    """`wanted` (`80%`, `1.5`, `500m`) as the engine takes it, held to what the groups give."""
    if limits.cpus is None:
        return wanted
    if percent := _PERCENT.fullmatch(wanted):
        return f"{max(limits.cpus * float(percent[1]) / 100, 0.01):.2f}"
    number = _CPUS.fullmatch(wanted)
    if number and float(number[1]) / (1000 if number[2] else 1) <= limits.cpus:
        return wanted
    return f"{limits.cpus:.2f}"


def memory_within(wanted: str, limits: Limits) -> str:
    """`wanted` as the engine takes it, held to what the groups give where it is a share of the machine's memory."""
    percent = _PERCENT.fullmatch(wanted)
    if limits.memory_bytes is None or percent is None:
        return wanted
    return f"{int(limits.memory_bytes * float(percent[1]) / 100) // 1_000_000}MB"
