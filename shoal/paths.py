"""Where shoal keeps things on the control machine and on a node: the one place that knows."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from shoal.errors import UsageError

NODE_STATE = PurePosixPath("/var/lib/shoal")
"""Everything durable on a node lives here."""
NODE_RUNS = NODE_STATE / "runs"
NODE_OUTBOX = NODE_STATE / "outbox"
"""What waits to be shipped (docs/outbox.md)."""
NODE_WATCH = NODE_STATE / "watch"
"""The watch's ledger and events (docs/cameras.md)."""
NODE_DRAINED = NODE_STATE / "drained"
"""Where this file is, the node gets no new run and its engine service is left stopped (`shoal nodes drain`)."""
NODE_IMAGE_NEEDS = NODE_STATE / "image-needs"
"""A file per run that is not finished, its content the reference of the image that the run needs: under `node` for what
the machine itself is to run, under `registry` (on the requester) for what any of the cluster's machines is."""
NODE_WEIGHTS = NODE_STATE / "weights"
NODE_VIDEOS = PurePosixPath("/videos")
JOB_TARGETS = {str(NODE_VIDEOS): "/videos", str(NODE_WEIGHTS): "/weights", f"{NODE_RUNS}/*": "/state"}
"""Where a job's container sees what is mounted from a node. Nowhere else: a folder over another one would hide a node's
privacy policy, or put files of somebody's where the image has its program."""
NODE_PROGRAMS = PurePosixPath("/usr/local/lib/shoal")
"""Programs of ours; several roles put some there."""


def repository() -> Path:
    """The checkout this package runs from."""
    return Path(__file__).resolve().parent.parent


def cache_dir() -> Path:
    """What can be fetched or built again: downloads, base images, converted weights. `SHOAL_CACHE` overrides."""
    return named("SHOAL_CACHE") or (named("XDG_CACHE_HOME") or _home("SHOAL_CACHE") / ".cache") / "shoal"


def state_dir() -> Path:
    """What describes things that exist now: labs, keys, locks. `SHOAL_STATE` overrides."""
    return named("SHOAL_STATE") or (named("XDG_STATE_HOME") or _home("SHOAL_STATE") / ".local" / "state") / "shoal"


def runs_dir() -> Path:
    """Where results are brought home to. `SHOAL_RUNS` overrides; else `runs/` of the working directory."""
    return named("SHOAL_RUNS") or Path("runs").resolve()


def cluster_document(name: str) -> Path:
    """The cluster document of a substrate's default cluster, e.g. `lab`."""
    return state_dir() / "clusters" / f"{name}.json"


def expanded(path: Path) -> Path:
    """`path` with `~` resolved; as it is where it names no user's home: then no file will be found there."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def named(variable: str) -> Path | None:
    """The folder that a variable of the environment names, if any. Raises UsageError where it names no user's."""
    text = os.environ.get(variable)
    try:
        return Path(text).expanduser().resolve() if text else None
    except RuntimeError:
        raise UsageError(f"{variable} is {text!r}, and there is no such user") from None


def _home(variable: str) -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError(
            "this user has no home folder to keep things in", hint=f"set HOME, or name a folder in {variable}"
        ) from None


def ssh_config_path(cluster: str) -> Path:
    """Where the configuration lies that is written for a cluster with a ProxyCommand."""
    return state_dir() / "ssh" / f"{cluster}.config"
