"""The demo's end: the lab with all it brought and every file the demo made go, but for results; then a second look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from shoal.cluster import document as clusters
from shoal.cluster import local_files
from shoal.demo import launcher
from shoal.errors import UsageError
from shoal.lab import engine_setup, mounts, state
from shoal.lab.down import Down, down
from shoal.lab.purge import Proof
from shoal.paths import cache_dir, cluster_document, state_dir
from shoal.site import document as site
from shoal.ssh import client as ssh
from shoal.ssh import connect
from shoal.telling import Say

RELEASES = "bacalhau-releases.json"
"""The hashes of releases that were verified here; they go with the cache that holds the releases."""
SHOWN = 5


def take_down(lab: str, *, keep_cache: bool, say: Say) -> Down:
    """Remove all of the demo but `runs/`, and report what was looked for afterwards and found.

    The cache stays where it is asked for, or where another lab of this user is up. Raises ShoalError where something
    refuses to go; typed again, it goes on.
    """
    _close_connections(cluster_document(lab))
    others = [name for name in state.names() if name != lab]
    result = down(lab, purge_all=True, keep_cache=keep_cache or bool(others), say=say)
    files = list(_files(lab))
    if not (keep_cache or others):
        files.append(state_dir() / RELEASES)
    for path in files:
        path.unlink(missing_ok=True)
    kept = list(result.kept)
    proofs = [*result.proofs, _gone("documents, tokens and locks", state_dir(), [*files, *_files(lab)])]
    if others:
        kept.append(f"the cache in {cache_dir()}, which lab {', '.join(others)} may use")
    elif keep_cache:
        kept.append(f"the cache in {cache_dir()}")
    else:
        mounts.remove_tree(cache_dir())
        proofs.append(_gone("cache", cache_dir(), [cache_dir()]))
    if brought := launcher.packages():
        launcher.remove_packages(say)
        proofs.append(Proof("the launcher's packages", "dpkg", tuple(engine_setup.still_installed(brought))))
    folders = (
        {state_dir() / kind for kind in local_files.FOLDERS} | {path.parent for path in files} | {connect.control_dir()}
    )
    for folder in sorted(folders | {state_dir()}, key=lambda path: len(path.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if rest := sorted(path for path in state_dir().rglob("*") if path.is_file()):
        shown = ", ".join(str(path.relative_to(state_dir())) for path in rest[:SHOWN])
        kept.append(f"{len(rest)} files of other clusters in {state_dir()}: {shown}{' ...' if rest[SHOWN:] else ''}")
    if (tools := launcher.folders()) and not others:
        kept.append(f"the checkout's own tools, which go with the checkout: {', '.join(tools)}")
    return replace(result, proofs=tuple(proofs), kept=tuple(kept))


def _files(lab: str) -> Iterator[Path]:
    yield site.document_path(lab)  # which may lie elsewhere
    yield from local_files.of(lab)


def _close_connections(document: Path) -> None:
    if not document.exists():
        return
    try:
        ssh.close(clusters.load(document))
    except UsageError:
        # A damaged document goes with the rest; its connections end by themselves after a minute.
        return


def _gone(what: str, where: Path, paths: list[Path]) -> Proof:
    return Proof(what, str(where), tuple(sorted({str(path) for path in paths if path.exists()})))
