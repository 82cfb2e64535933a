"""Results brought home: the node's run folder copied file by file, every file checked against the manifest.

The manifest is placed last. A local manifest beside files that match it means whole; anything else is not taken for it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from shoal.cluster.document import Cluster, Node, field_faults
from shoal.errors import Fault, ShoalError
from shoal.files import CHUNK_BYTES, sha256_file, write_atomic
from shoal.paths import NODE_RUNS
from shoal.results.documents import Manifest, ManifestEntry
from shoal.results.record import Fetched, check_run_id
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.waiting import looks

MANIFEST = "manifest.json"
ARRIVING = ".arriving"
"""Where files are written until they are checked; beside the results, so that a rename is all that is left."""
PATIENCE_S = 120.0
"""How long a fetch waits for a node that went away, counted from the last file that came."""
RETRY_S = 3.0
NO_MANIFEST_CODE = 44

_READ_MANIFEST = f'[ -f "$1" ] || exit {NO_MANIFEST_CODE}; exec cat -- "$1"'


@dataclass(frozen=True, slots=True)
class NodeManifest:
    """A node's manifest, and its bytes as they stand on the node."""

    manifest: Manifest
    raw: bytes


def node_manifest(cluster: Cluster, node: Node, run: str) -> NodeManifest | None:
    """The manifest of `run` on `node`; None where the node is not done.

    Raises SshError, RemoteError, or ShoalError where the file is damaged.
    """
    path = NODE_RUNS / check_run_id(run) / MANIFEST
    done = ssh.run(cluster, node, "sh", "-c", _READ_MANIFEST, "manifest", str(path), root=True, check=False)
    if done.exit_code == NO_MANIFEST_CODE:
        return None
    if done.exit_code != 0:
        raise ssh.RemoteError(node, ("cat", str(path)), done.exit_code, done.stderr)
    manifest = parse_manifest(done.stdout, source=f"{node.name}:{path}")
    if manifest.run != run:
        raise ShoalError(f"{node.name}:{path} is the manifest of run {manifest.run!r}, not of {run!r}")
    return NodeManifest(manifest, done.stdout)


def node_manifest_in_time(
    cluster: Cluster, node: Node, run: str, *, patience_s: float = PATIENCE_S
) -> NodeManifest | None:
    """As `node_manifest`, but a node that is away is waited for, at most `patience_s`."""
    for look in looks(RETRY_S, timeout_s=patience_s):
        try:
            return node_manifest(cluster, node, run)
        except ssh.SshError as error:
            if not error.transient or look.last:
                raise
    raise AssertionError("the last look returns or raises")


def parse_manifest(raw: bytes, *, source: str) -> Manifest:
    """The manifest in `raw`. Raises ShoalError with its faults; `source` names the file in the text."""
    try:
        return Manifest.model_validate(json.loads(raw))
    except ValidationError as error:
        faults = tuple(field_faults(error)) or (Fault("files", str(error.errors()[0]["msg"])),)
        raise ShoalError(f"{source} is not a valid manifest", faults=faults) from None
    except ValueError as error:
        raise ShoalError(f"{source} is not JSON: {error}") from None


def fetch_node(
    cluster: Cluster,
    node: Node,
    run: str,
    destination: Path,
    *,
    patience_s: float = PATIENCE_S,
    tell: Callable[[str], None] | None = None,
) -> Fetched:
    """Bring the run's folder of `node` to `destination` and check it; what is there and right is not sent again.

    A connection that breaks is taken up again, for at most `patience_s` without a new file. Raises ShoalError where the
    node has no finished run, a file is not what the manifest says, or there is no space here.
    """
    before: int | None = None
    for look in looks(RETRY_S, timeout_s=patience_s):
        try:
            found = node_manifest(cluster, node, run)
            if found is None:
                raise ShoalError(
                    f"node {node.name} has not finished run {run}: there is no manifest yet",
                    hint=f"finish it with `shoal resume {run}`",
                )
            with _local_disk(destination):
                _prepare(destination, found)
                missing = absent(destination, found.manifest)
            if before is not None and len(missing) < before:
                look.renew()
            before = len(missing)
            if missing:
                _bring(cluster, node, run, destination, missing)
            with _local_disk(destination):
                write_atomic(destination / MANIFEST, found.raw)
                shutil.rmtree(destination / ARRIVING, ignore_errors=True)
            return _fetched(found.manifest)
        except ssh.SshError as error:
            if not error.transient or look.last:
                raise
            if tell:
                tell(f"{brief(error)}; trying again")
    raise AssertionError("the last look returns or raises")


def absent(destination: Path, manifest: Manifest) -> list[ManifestEntry]:
    """The manifest's files that are not at `destination`, or not as it says (size and sha256)."""
    return [entry for entry in manifest.files if _fault_of(destination, entry)]


def verify_node(destination: Path) -> tuple[Manifest | None, list[Fault]]:
    """Hash every file of a fetched folder again. Without faults the folder is whole; returns its manifest, if any."""
    try:
        raw = (destination / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None, [Fault(str(destination), "not fetched, or not whole: there is no manifest")]
    manifest = parse_manifest(raw, source=str(destination / MANIFEST))
    faults = [
        Fault(str(destination / entry.path), fault)
        for entry in manifest.files
        if (fault := _fault_of(destination, entry))
    ]
    listed = {entry.path for entry in manifest.files} | {MANIFEST}
    for path in sorted(destination.rglob("*")):
        relative = path.relative_to(destination).as_posix()
        if not path.is_dir() and relative not in listed and not relative.startswith(f"{ARRIVING}/"):
            faults.append(Fault(str(path), "is not in the manifest"))
    return manifest, faults


def _fault_of(destination: Path, entry: ManifestEntry) -> str | None:
    path = destination / entry.path
    if path.is_symlink() or not path.is_file():
        return "is missing"
    if (size := path.stat().st_size) != entry.size_bytes:
        return f"has {size} bytes, the manifest says {entry.size_bytes}"
    if (digest := sha256_file(path)) != entry.sha256:
        return f"has sha256 {digest}, the manifest says {entry.sha256}"
    return None


def _prepare(destination: Path, found: NodeManifest) -> None:
    """Take away what an interrupted fetch left, and a local manifest that is not the node's."""
    shutil.rmtree(destination / ARRIVING, ignore_errors=True)
    (destination / ARRIVING).mkdir(parents=True)
    here = destination / MANIFEST
    if here.is_file() and here.read_bytes() != found.raw:
        here.unlink()


def _bring(cluster: Cluster, node: Node, run: str, destination: Path, missing: list[ManifestEntry]) -> None:
    """One tar stream with the missing files; every file is checked while it is written, and then renamed."""
    folder = str(NODE_RUNS / run)
    options = ("--null", "--verbatim-files-from", "--no-recursion", "--hard-dereference")
    wanted = {entry.path: entry for entry in missing}
    broken = None
    with tempfile.TemporaryFile() as names:
        # A name with "./" in front is never taken for an option.
        names.write(b"".join(b"./" + path.encode() + b"\0" for path in wanted))
        names.seek(0)
        with ssh.piped(
            cluster, node, "tar", "-C", folder, *options, "-cf", "-", "-T", "-", root=True, stdin=names
        ) as output:
            try:
                with tarfile.open(fileobj=output, mode="r|") as archive:
                    for member in archive:
                        _place(archive, member, wanted, destination, node)
            except tarfile.TarError as error:
                # Most often the connection broke, and ssh says so when the block is left.
                broken = error
            while output.read(CHUNK_BYTES):
                pass
    if broken or wanted:
        raise ShoalError(
            f"node {node.name} sent only a part of run {run}: {broken or ', '.join(sorted(wanted)[:3]) + ' missing'}"
        )


def _place(
    archive: tarfile.TarFile, member: tarfile.TarInfo, wanted: dict[str, ManifestEntry], destination: Path, node: Node
) -> None:
    entry = wanted.get(member.name.removeprefix("./"))
    if entry is None or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise ShoalError(f"node {node.name} sent {member.name!r}, which was not asked for, or is not a plain file")
    content = archive.extractfile(member)
    if content is None:
        raise AssertionError("a regular member has content")
    with _local_disk(destination):
        target = destination / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=destination / ARRIVING, delete=False) as arriving:
            digest = _copy(content, arriving)
        if member.size != entry.size_bytes or digest != entry.sha256:
            raise ShoalError(
                f"{node.name}:{entry.path} is not what its manifest says: {member.size} bytes, sha256 {digest}; "
                f"expected {entry.size_bytes} bytes, sha256 {entry.sha256}",
                hint="the file was changed on the node after the run; start a new run",
            )
        Path(arriving.name).chmod(0o644)
        Path(arriving.name).replace(target)
    del wanted[entry.path]


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def _fetched(manifest: Manifest) -> Fetched:
    return Fetched(
        files=len(manifest.files),
        size_bytes=sum(entry.size_bytes for entry in manifest.files),
        verified_at=datetime.now(UTC),
    )


@contextmanager
def _local_disk(destination: Path) -> Iterator[None]:
    """Faults of our own disk, in words; none of them is the node's."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ShoalError(
                f"no space left under {destination}; what came whole is kept",
                hint="make room and type the command again, or set SHOAL_RUNS to a directory on another disk",
            ) from None
        raise ShoalError(f"results cannot be written under {destination}: {error}") from None
