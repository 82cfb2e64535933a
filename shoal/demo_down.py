"""The demo's end: the lab with all it brought and every file the demo made go, but for results; then a second look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from shoal import cluster as clusters
from shoal import deploys, inventory, site, ssh
from shoal.errors import UsageError
from shoal.lab import mounts, state
from shoal.lab.down import Down, down
from shoal.lab.purge import Proof
from shoal.paths import cache_dir, cluster_document, state_dir

Say = Callable[[str], None]


def take_down(lab: str, *, keep_cache: bool, say: Say) -> Down:
    """Remove all of the demo but `runs/`, and tell what was looked for afterwards and found.

    The cache stays where it is asked for, or where another lab of this user is up. Raises ShoalError where something
    refuses to go; typed again, it goes on.
    """
    _close_connections(cluster_document(lab))
    others = [name for name in state.names() if name != lab]
    result = down(lab, purge_all=True, keep_cache=keep_cache or bool(others), say=say)
    files = list(_files(lab))
    for path in files:
        path.unlink(missing_ok=True)
    kept = list(result.kept)
    proofs = [*result.proofs, _gone("documents and locks", state_dir(), files)]
    if others:
        kept.append(f"the cache in {cache_dir()}, which lab {', '.join(others)} may use")
    elif keep_cache:
        kept.append(f"the cache in {cache_dir()}")
    else:
        mounts.remove_tree(cache_dir())
        proofs.append(_gone("cache", cache_dir(), [cache_dir()]))
    for folder in {path.parent for path in files} | {state_dir(), ssh.control_dir()}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return replace(result, proofs=tuple(proofs), kept=tuple(kept))


def _files(lab: str) -> Iterator[Path]:
    yield cluster_document(lab)
    yield site.document_path(lab)
    yield deploys.lock_path(lab)
    yield inventory.ssh_config_path(lab)


def _close_connections(document: Path) -> None:
    if not document.exists():
        return
    try:
        ssh.close(clusters.load(document))
    except UsageError:
        # A damaged document goes with the rest; its connections end by themselves after a minute.
        return


def _gone(what: str, where: Path, paths: list[Path]) -> Proof:
    return Proof(what, str(where), tuple(str(path) for path in paths if path.exists()))
