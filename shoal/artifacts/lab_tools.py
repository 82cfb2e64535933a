"""Programs that a lab's cameras and store run: wheels from PyPI, unpacked once into the cache, not into shoal."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shoal.artifacts.clients import install_wheels
from shoal.locks import locked
from shoal.paths import cache_dir, repository
from shoal.telling import Say


def lab_tools(say: Say) -> Path:
    """A folder with aio-rtsp-toolkit, what it needs, and `bin/rclone`. Raises ShoalError where it cannot be had."""
    requirements = repository() / "requirements" / "lab.txt"
    version = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    home = cache_dir() / "tools" / f"lab-{version}"
    with locked(cache_dir() / "tools" / f".lab-{version}.lock", what="the lab's programs", say=say):
        if not home.exists():
            say("lab: bringing the cameras' and the store's programs from PyPI")
            install_wheels(home, requirements, what="the lab's programs (requirements/lab.txt)")
    return home
