"""How many CPUs this process may use: its affinity, and the quota of its control groups (v1 and v2)."""

from __future__ import annotations

import os
from pathlib import Path


def available_cpus(cgroup_root: Path = Path("/sys/fs/cgroup"), proc_self: Path = Path("/proc/self")) -> int:
    """The smaller of affinity and quota, at least 1.

    A fraction of the quota is dropped: threads beyond it would only use the period up and then wait for the next.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = quota_cpus(cgroup_root, proc_self)
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def quota_cpus(cgroup_root: Path, proc_self: Path) -> float | None:
    """CPUs granted by the tightest quota among the process's own groups and those above them; None without one."""
    quotas = [
        quota
        for hierarchy, path in _groups(cgroup_root, proc_self)
        for folder in _upwards(hierarchy, path)
        if (quota := _read_quota(folder)) is not None
    ]
    return min(quotas, default=None)


def _groups(cgroup_root: Path, proc_self: Path) -> list[tuple[Path, str]]:
    """Where the CPU controller's hierarchies are mounted, and the process's path in each."""
    try:
        lines = (proc_self / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    groups = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            groups.append((cgroup_root, path))
        elif "cpu" in controllers.split(","):
            groups.extend((cgroup_root / name, path) for name in ("cpu", controllers))
    return groups


def _upwards(hierarchy: Path, path: str) -> list[Path]:
    """The group's folder and all above it, up to the mount.

    In a container without a namespace of its own for control groups the path is the host's and does not exist
    below the mount; the mount itself is then the process's group, so missing folders are no error.
    """
    folder = hierarchy / path.lstrip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(hierarchy))]


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
