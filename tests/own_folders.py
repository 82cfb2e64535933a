"""Cache, state and settings of a test session: its own, never those of the person who types it.

Downloads are shared: the session's cache begins with links to the files of the person's, and what is replaced there is
replaced in the session's cache alone. The engine's program is not among them: which engine is meant, a test says.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import MutableMapping
from pathlib import Path

from shoal import paths

DOWNLOADS = "SHOAL_DOWNLOADS"
"""The variable that names the person's cache to the tests, for what is built for them alone and takes minutes."""
PERSON_STATE = "SHOAL_PERSON_STATE"
"""The variable that names the person's state folder, which notes whether a container engine of the lab's own runs."""
MEANT = ("SHOAL_CLUSTER", "SHOAL_LAB", "SHOAL_SITE", "SHOAL_ONPREM", "SHOAL_RUNS", "SHOAL_STACKS", "SHOAL_ENVIRONMENT")
"""What a person sets to say which cluster, site or folder is meant."""
LABS_OF_TESTS = ("SHOAL_TEST_LAB", "SHOAL_TEST_MESH_LAB", "SHOAL_TEST_GUESTS", "SHOAL_KEEP_LAB")
"""With one of them SHOAL_STATE is where that lab is described, and not the person's."""
_UNSHARED = ("bacalhau", "locks", "incoming")


def downloads() -> Path:
    """The cache that outlives the session."""
    return Path(os.environ[DOWNLOADS])


def take(environment: MutableMapping[str, str], folder: Path) -> None:
    """Have all that reads `environment` keep its things in `folder`; a process below it keeps what it was given."""
    if DOWNLOADS in environment:
        return
    cache, state = paths.cache_dir(), paths.state_dir()
    environment[DOWNLOADS], environment[PERSON_STATE] = str(cache), str(state)
    environment["SHOAL_CACHE"] = str(folder / "cache")
    if "SHOAL_STATE" not in environment or not set(LABS_OF_TESTS) & set(environment):
        environment["SHOAL_STATE"] = str(folder / "state")
    for name in MEANT:
        environment.pop(name, None)
    environment["GIT_CONFIG_GLOBAL"] = environment["GIT_CONFIG_SYSTEM"] = os.devnull
    share(cache, folder / "cache")


def share(cache: Path, own: Path) -> None:
    """Links in `own` to what was downloaded into `cache`."""
    own.mkdir(parents=True, mode=0o700)
    for path in sorted(cache.iterdir()) if cache.is_dir() else []:
        if path.is_dir() and path.name not in _UNSHARED:
            shutil.copytree(path, own / path.name, symlinks=True, copy_function=_link, ignore=_unfinished)


def _unfinished(_: str, names: list[str]) -> set[str]:
    return {name for name in names if name in _UNSHARED or name.endswith((".part", ".lock")) or name == "lock"}


def _link(source: str, target: str) -> None:
    """A second name of the file where the file system allows it, which a removal of the first does not touch."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        return  # the person's own work took it away meanwhile
    except OSError:
        Path(target).symlink_to(source)
