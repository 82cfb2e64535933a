"""Mounts below a folder: nothing may be deleted through one that was left behind."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from shoal.errors import ShoalError

MOUNTINFO = Path("/proc/self/mountinfo")


def parse_below(mountinfo: str, folder: Path) -> list[Path]:
    """Mount points at or below `folder`, deepest first."""
    points = []
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) > 4:
            points.append(Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])))
    inside = {point for point in points if point == folder or folder in point.parents}
    return sorted(inside, key=lambda point: len(point.parts), reverse=True)


def below(folder: Path) -> list[Path]:
    """Mount points at or below `folder` now."""
    return parse_below(MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"), folder.resolve())


def remove_tree(folder: Path) -> None:
    """Delete `folder` with all it holds, after unmounting what is mounted below it.

    Raises ShoalError where something stays mounted: deleting through a mount would delete what is mounted.
    """
    for point in below(folder):
        subprocess.run(["umount", str(point)], capture_output=True, check=False)
    for point in below(folder):
        subprocess.run(["umount", "--lazy", str(point)], capture_output=True, check=False)
    if left := below(folder):
        raise ShoalError(
            f"{folder} cannot be removed: {left[0]} is still mounted", hint=f"unmount it: umount {left[0]}"
        )
    shutil.rmtree(folder, ignore_errors=False) if folder.exists() else None
