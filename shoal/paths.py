"""Where shoal keeps things on the control machine and on a node: the one place that knows."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

NODE_STATE = PurePosixPath("/var/lib/shoal")
"""Everything durable on a node lives here."""
NODE_RUNS = NODE_STATE / "runs"
NODE_DRAINED = NODE_STATE / "drained"
"""Where this file is, the node gets no new run and its engine service is left stopped (`shoal nodes drain`)."""
NODE_WEIGHTS = NODE_STATE / "weights"
NODE_VIDEOS = PurePosixPath("/videos")


def repository() -> Path:
    """The checkout this package runs from."""
    return Path(__file__).resolve().parent.parent


def cache_dir() -> Path:
    """What can be fetched or built again: downloads, base images, converted weights. `SHOAL_CACHE` overrides."""
    if override := os.environ.get("SHOAL_CACHE"):
        return Path(override).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shoal"


def state_dir() -> Path:
    """What describes things that exist now: labs, keys, locks. `SHOAL_STATE` overrides."""
    if override := os.environ.get("SHOAL_STATE"):
        return Path(override).expanduser().resolve()
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "shoal"


def runs_dir() -> Path:
    """Where results are brought home to. `SHOAL_RUNS` overrides; else `runs/` of the working directory."""
    return Path(os.environ.get("SHOAL_RUNS") or "runs").resolve()


def cluster_document(name: str) -> Path:
    """The cluster document of a substrate's default cluster, e.g. `lab`."""
    return state_dir() / "clusters" / f"{name}.json"
