"""The checked files: resolved from the cache, a bundle or their registry, and placed only when their hash is right.

A kept file lies at `<cache>/artifacts/<first two hex digits>/<sha256>/<file name>`. It gets there by a rename of a
file whose hash was just computed, under a lock per package. Every `resolve` hashes it again (some 10 ms per 10 MB), so
a file that was damaged since, by whatever, is fetched anew and never used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Final

from shoal.artifacts import clients, process
from shoal.artifacts.archives import extract
from shoal.artifacts.catalogue import Arch, Artifact, Catalogue, load_catalogue
from shoal.errors import ShoalError
from shoal.files import sha256_file
from shoal.locks import locked
from shoal.paths import cache_dir
from shoal.telling import Say, quiet

AT_ONCE: Final = 3
"""Packages fetched at the same time."""


class State(StrEnum):
    """Of a file in the cache."""

    CACHED = "cached"
    MISSING = "missing"
    DAMAGED = "damaged"
    """There, but not what the catalogue names; the next `resolve` replaces it."""


def kept_path(artifact: Artifact, arch: str = "any") -> Path:
    """Where the file of `artifact` lies once it was fetched."""
    sha256 = artifact.sha256[artifact.arch_for(arch)]
    return cache_dir() / "artifacts" / sha256[:2] / sha256 / artifact.file_name


def state(artifact: Artifact, arch: str = "any") -> State:
    """What is in the cache, identified by size and hash."""
    path, known = kept_path(artifact, arch), artifact.arch_for(arch)
    if not path.is_file():
        return State.MISSING
    if path.stat().st_size != artifact.size_bytes[known] or sha256_file(path) != artifact.sha256[known]:
        return State.DAMAGED
    return State.CACHED


def resolve(name: str, *, arch: str = "any", catalogue: Catalogue | None = None, say: Say = quiet) -> Path:
    """The checked local file of artefact `name`: from the cache, else a bundle, else its registry.

    Raises UsageError for an unknown name or architecture, ShoalError (exit 4) where a client or the package is
    missing, ShoalError where the hash is wrong or the disk is full. Two processes at once share one download.
    """
    entries = catalogue or load_catalogue()
    artifact = entries.get(name)
    known = artifact.arch_for(arch)
    path = kept_path(artifact, known)
    if state(artifact, known) is State.CACHED:
        return path
    siblings = [entries.get(sibling) for sibling in entries.siblings(name)]
    with disk_errors(clients.describe(artifact)), _workshop(artifact, say) as folder:
        if state(artifact, known) is State.CACHED:
            return path  # another process brought it while this one waited
        if path.exists():
            say(f"{artifact.file_name} in the cache is damaged; fetching it again")
            path.unlink()
        if not _from_bundle(artifact, known, folder):
            _from_upstream(artifact, siblings, known, folder, say)
    return path


def resolve_all(
    names: Iterable[str], *, arch: str = "any", catalogue: Catalogue | None = None, say: Say = quiet
) -> dict[str, Path]:
    """Like `resolve` for several artefacts, a few packages at a time. The first failure is raised at the end."""
    entries, wanted = catalogue or load_catalogue(), list(names)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # Artefacts of one package come with its first; asking for them again then finds them in the cache.
        leaders = dict.fromkeys(entries.siblings(name)[0] for name in wanted)
        for future in [pool.submit(resolve, name, arch=arch, catalogue=entries, say=say) for name in leaders]:
            future.result()
    return {name: resolve(name, arch=arch, catalogue=entries, say=say) for name in wanted}


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a full or unwritable disk into an error a person can act on; `what` was being brought or made."""
    try:
        yield
    except OSError as error:
        if error.errno in {ENOSPC, EDQUOT}:
            raise process.no_space(what) from error
        raise ShoalError(
            f"the cache in {cache_dir()} cannot be used: {error}", hint="SHOAL_CACHE names another"
        ) from error


@contextmanager
def _workshop(artifact: Artifact, say: Say) -> Iterator[Path]:
    """An empty folder on the cache's own file system, held by this process alone and removed at the end.

    What a killed process left there is removed by the next one. The folder has a new name every time: a client that
    outlived the process that started it cannot write into it.
    """
    what = clients.describe(artifact)
    key = hashlib.sha256(f"{artifact.source!r} {artifact.version}".encode()).hexdigest()[:16]
    root = cache_dir() / "artifacts"
    with locked(root / "locks" / key, what=what, say=say):
        folder = root / "incoming" / key
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield Path(tempfile.mkdtemp(dir=folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _from_bundle(artifact: Artifact, arch: Arch, folder: Path) -> bool:
    """Take the file from the folder in SHOAL_BUNDLE: named by its SHA-256, or laid out as in the cache."""
    bundle = os.environ.get("SHOAL_BUNDLE")
    if not bundle:
        return False
    sha256 = artifact.sha256[arch]
    for candidate in (Path(bundle) / sha256, Path(bundle) / sha256[:2] / sha256 / artifact.file_name):
        if candidate.is_file():
            copy = folder / "from-bundle"
            shutil.copyfile(candidate, copy)
            _place(copy, artifact, arch, origin=str(candidate))
            return True
    return False


def _from_upstream(artifact: Artifact, siblings: list[Artifact], arch: Arch, folder: Path, say: Say) -> None:
    what = clients.describe(artifact)
    say(f"fetching {what}: {artifact.purpose}")
    package = clients.download(artifact, arch, folder, say=say)
    if artifact.archive_sha256 and (found := sha256_file(package)) != artifact.archive_sha256:
        raise process.wrong_hash(f"{package.name} of {what}", expected=artifact.archive_sha256, found=found)
    if artifact.member is None:
        _place(package, artifact, arch, origin=what)
        return
    # One download serves every artefact of the package; the package itself is not kept.
    targets = {one.member: folder / f"member-{number}" for number, one in enumerate(siblings) if one.member}
    extract(package, targets)
    for one in sorted(siblings, key=lambda sibling: sibling is not artifact):
        if one.member:
            _place(targets[one.member], one, one.arch_for(arch), origin=what)


def _place(file: Path, artifact: Artifact, arch: Arch, *, origin: str) -> None:
    expected = artifact.sha256[arch]
    if (found := sha256_file(file)) != expected:
        file.unlink()
        raise process.wrong_hash(f"{artifact.file_name} from {origin}", expected=expected, found=found)
    path = kept_path(artifact, arch)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.chmod(0o644)
    file.replace(path)
