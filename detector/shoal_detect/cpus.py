"""How many CPUs this process may use: its affinity, and the quota of its control groups (v1 and v2)."""

from __future__ import annotations

import os
from pathlib import Path

from shoal_detect import control_groups


def available_cpus(cgroup_root: Path = control_groups.ROOT, proc_self: Path = control_groups.PROC_SELF) -> int:
    """The smaller of affinity and quota, at least 1.

    A fraction of the quota is dropped: threads beyond it would only use the period up and then wait for the next.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = quota_cpus(cgroup_root, proc_self)
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def quota_cpus(cgroup_root: Path, proc_self: Path) -> float | None:
    """CPUs granted by the tightest quota among the process's own groups and those above them; None without one."""
    found = (_read_quota(folder) for folder in control_groups.folders("cpu", cgroup_root, proc_self))
    return min((quota for quota in found if quota is not None), default=None)


def _read_quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()[:2]
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
    except OSError:
        return None
    if quota in {"max", "-1"}:
        return None
    return int(quota) / int(period)
