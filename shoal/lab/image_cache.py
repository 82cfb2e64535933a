"""Where built images are kept as archives, and the rules of that folder."""

from __future__ import annotations

from pathlib import Path

from shoal.paths import cache_dir


def folder() -> Path:
    """Archives of images, named by a hash of what they were made from."""
    return cache_dir() / "images"


def lock_path() -> Path:
    """Two labs at once must not build the same image twice."""
    return folder() / ".lock"
