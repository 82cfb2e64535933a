"""What the control groups of this process give it (v1 and v2): where their files are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PROC_SELF = Path("/proc/self")


def folders(controller: str, root: Path = ROOT, proc_self: Path = PROC_SELF) -> Iterator[Path]:
    """Folders of the process's own groups with this controller, and of all above them, in every hierarchy."""
    for hierarchy, path in _groups(controller, root, proc_self):
        # In a container without a namespace of its own for control groups the path is the host's and does not exist
        # below the mount; the mount itself is then the process's group, so missing folders are no error.
        folder = hierarchy / path.lstrip("/")
        yield folder
        yield from (parent for parent in folder.parents if parent.is_relative_to(hierarchy))


def _groups(controller: str, root: Path, proc_self: Path) -> list[tuple[Path, str]]:
    """Where the controller's hierarchies are mounted, and the process's path in each."""
    try:
        lines = (proc_self / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    groups = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            groups.append((root, path))
        elif controller in controllers.split(","):
            groups.extend((root / name, path) for name in dict.fromkeys((controller, controllers)))
    return groups
