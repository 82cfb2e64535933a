"""What this machine keeps for a cluster, in files named after it: found as a whole, so that a removal leaves none."""

from __future__ import annotations

from pathlib import Path

from shoal.paths import state_dir

FOLDERS = ("clusters", "sites", "deploys", "ssh", "secrets", "mesh", "owners")
"""Folders of the state folder with files named after a cluster: documents, locks, tokens, notes. A test holds the
functions that name such files to this list."""


def of(cluster: str) -> list[Path]:
    """The files that are there: `<cluster>.*` and `.<cluster>.*`, locks and unfinished files included."""
    return sorted(
        path
        for folder in FOLDERS
        for pattern in (f"{cluster}.*", f".{cluster}.*")
        for path in (state_dir() / folder).glob(pattern)
    )


def forget(cluster: str) -> list[Path]:
    """Remove them, and folders that are empty then. Gives what was removed."""
    files = of(cluster)
    for path in files:
        path.unlink(missing_ok=True)
    for folder in (*(state_dir() / name for name in FOLDERS), state_dir()):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return files
