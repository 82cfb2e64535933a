"""Results brought home: the node's run folder copied file by file, every file checked against the manifest.

The manifest is placed last, once everything it names is on disk. A local manifest beside files that match it means
whole; anything else is not taken for it. What a node sends is a stranger's: no more is read or written than its
manifest promised, and the manifest itself is held to bounds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import select
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO

from shoal.cluster.document import Cluster, Node
from shoal.errors import Fault, ShoalError
from shoal.files import (
    CHUNK_BYTES,
    PRIVATE_FILE,
    private_folder,
    sha256_file,
    sync_file,
    sync_folder,
    write_atomic,
)
from shoal.paths import NODE_RUNS
from shoal.results import documents
from shoal.results.damaged import DamagedResultsError
from shoal.results.documents import Manifest, ManifestEntry, RunSummary
from shoal.results.record import Bring, EventBytes, Fetched, check_run_id
from shoal.ssh import client as ssh
from shoal.ssh.failures import SshFailure, brief
from shoal.untrusted import DamagedDocumentError, read_bytes
from shoal.waiting import looks

MANIFEST = "manifest.json"
SUMMARY = "summary.json"
WITH_EVENTS = (
    r"events\.jsonl",
    r"(settings|summary)\.json",
    r"clips/[0-9a-f]{32}\.(mp4|jpg)",
    r"videos/[^/]+/summary\.json",
    r"videos/[^/]+/frames/[^/]+\.jpg",
)
"""What comes home with `--bring events`: events, covered clips and pictures, and counts. Not what shows where everybody
was in every frame."""
ARRIVING = ".arriving"
"""Where files are written until they are checked; beside the results, so that a rename is all that is left."""
PATIENCE_S = 120.0
"""How long a fetch waits for a node that went away, counted from the last file that came."""
RETRY_S = 3.0
NO_MANIFEST_CODE = 44
STALL_S = 60.0
STALL_BYTES = 16 << 10
"""A node that sends less than this in STALL_S is taken for silent: 0.3 kB/s, below any line that results come by."""
SPARE_BYTES = 256 << 20
"""Left free on the disk here: results may fill it no further."""
_XARGS_CODES = (1, 123, 124)
"""Of xargs, where the program that it starts says that a file cannot be sent."""

_CHANGED = "the file was changed on the node after the run; start a new run"
_READ_MANIFEST = f'[ -f "$1" ] || exit {NO_MANIFEST_CODE}; exec cat -- "$1"'
# Nothing but content: sizes and names are the manifest's, so there are no headers that could say otherwise.
_SEND = r"""
cd -- "$1" || exit 1
exec xargs -0 -r sh -c '
for name; do
    if [ -L "$name" ] || [ ! -f "$name" ]; then echo "${name#./} is missing, or not a plain file" >&2; exit 255; fi
done
exec cat -- "$@"' send
"""


@dataclass(frozen=True, slots=True)
class NodeManifest:
    """A node's manifest, and its bytes as they stand on the node."""

    manifest: Manifest
    raw: bytes


def node_manifest(cluster: Cluster, node: Node, run: str) -> NodeManifest | None:
    """The manifest of `run` on `node`; None where the node is not done.

    Raises SshError, RemoteError, or DamagedResultsError where the file is damaged.
    """
    path = NODE_RUNS / check_run_id(run) / MANIFEST
    source = f"{node.name}:{path}"
    command = ("sh", "-c", _READ_MANIFEST, "manifest", str(path))
    most_bytes = documents.BOUNDS.size_bytes
    try:
        done = ssh.run(cluster, node, *command, root=True, check=False, most_bytes=most_bytes)
    except ssh.TooLongError:
        raise DamagedResultsError(f"{source} is larger than {most_bytes} bytes") from None
    if done.exit_code == NO_MANIFEST_CODE:
        return None
    if done.exit_code != 0:
        raise ssh.RemoteError(node, ("cat", str(path)), done.exit_code, done.stderr)
    manifest = parse_manifest(done.stdout, source=source)
    if manifest.run != run:
        raise DamagedResultsError(f"{source} is the manifest of run {manifest.run!r}, not of {run!r}")
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
    """The manifest in `raw`. Raises DamagedResultsError with its faults; `source` names the file in the text."""
    try:
        return documents.parse(raw, Manifest, source=source)
    except DamagedDocumentError as error:
        raise DamagedResultsError(error.message, faults=error.faults) from None


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a fetched folder. Raises OSError where it cannot be read, and DamagedResultsError."""
    path = folder / MANIFEST
    try:
        return documents.read(path, Manifest)
    except DamagedDocumentError as error:
        raise DamagedResultsError(error.message, faults=error.faults) from None


def fetch_node(
    cluster: Cluster,
    node: Node,
    run: str,
    destination: Path,
    *,
    bring: Bring = "all",
    patience_s: float = PATIENCE_S,
    tell: Callable[[str], None] | None = None,
) -> Fetched:
    """Bring the run's folder of `node` to `destination` and check it; what is there and right is not sent again.

    With `bring` events the manifest comes whole, and of the files those that `comes_home`; what is home stays home.

    A connection that breaks is taken up again, for at most `patience_s` without a new file. Raises DamagedResultsError
    where the manifest or a file of the node is not what it should be, and ShoalError where the node has no finished
    run, or there is no space here.
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
                missing = [entry for entry in _prepare(destination, found) if comes_home(entry.path, bring)]
            if before is not None and len(missing) < before:
                look.renew()
            before = len(missing)
            if missing:
                _refuse_too_much(destination, node, missing)
                _bring(cluster, node, run, destination, missing)
            with _local_disk(destination):
                _make_whole(destination, found)
                return _fetched(destination, found.manifest)
        except ssh.SshError as error:
            if not error.transient or look.last:
                raise
            if tell:
                tell(f"{brief(error)}; trying again")
        finally:
            # What did not come whole, or was refused, is of no use to anybody.
            shutil.rmtree(destination / ARRIVING, ignore_errors=True)
    raise AssertionError("the last look returns or raises")


def comes_home(path: str, bring: Bring) -> bool:
    """Whether a file of the run's folder is one of those that are brought."""
    return bring == "all" or any(re.fullmatch(pattern, path) for pattern in WITH_EVENTS)


def absent(destination: Path, manifest: Manifest) -> list[ManifestEntry]:
    """The manifest's files that are not at `destination`, or not as it says (size and sha256)."""
    return [entry for entry in manifest.files if fault_of(destination, entry)]


def verify_node(destination: Path, bring: Bring = "all") -> tuple[Manifest | None, list[Fault]]:
    """Hash every file of a fetched folder again. Without faults the folder is whole; returns its manifest, if any.

    With `bring` events a file that was left on the node may be missing.
    """
    try:
        manifest = read_manifest(destination)
    except FileNotFoundError:
        return None, [Fault(str(destination), "not fetched, or not whole: there is no manifest")]
    except DamagedResultsError as error:
        return None, [Fault(str(destination / MANIFEST), error.in_one_line)]
    faults = [
        Fault(str(destination / entry.path), fault)
        for entry in manifest.files
        if (comes_home(entry.path, bring) or (destination / entry.path).exists())
        and (fault := fault_of(destination, entry))
    ]
    listed = {entry.path for entry in manifest.files} | {MANIFEST}
    for path in sorted(destination.rglob("*")):
        relative = path.relative_to(destination).as_posix()
        if not path.is_dir() and relative not in listed and not relative.startswith(f"{ARRIVING}/"):
            faults.append(Fault(str(path), "is not in the manifest"))
    return manifest, faults


def fault_of(destination: Path, entry: ManifestEntry) -> str | None:
    """Why the file of `entry` in a fetched folder is not what the manifest says; None where it is."""
    path = destination / entry.path
    if path.is_symlink() or not path.is_file():
        return "is missing"
    if (size := path.stat().st_size) != entry.size_bytes:
        return f"has {size} bytes, the manifest says {entry.size_bytes}"
    if (digest := sha256_file(path)) != entry.sha256:
        return f"has sha256 {digest}, the manifest says {entry.sha256}"
    return None


def _prepare(destination: Path, found: NodeManifest) -> list[ManifestEntry]:
    """Take away what an interrupted fetch left, and a local manifest that is not the node's; gives what is to come."""
    shutil.rmtree(destination / ARRIVING, ignore_errors=True)
    private_folder(destination / ARRIVING)
    here = destination / MANIFEST
    if here.is_file() and not _is_here(destination, found):
        here.unlink()
    return absent(destination, found.manifest)


def _is_here(destination: Path, found: NodeManifest) -> bool:
    try:
        return read_bytes(destination / MANIFEST, bounds=documents.BOUNDS) == found.raw
    except (DamagedDocumentError, FileNotFoundError):
        return False


def _make_whole(destination: Path, found: NodeManifest) -> None:
    """Flush every file and folder to disk, then place the manifest: a power cut never leaves one beside less."""
    if _is_here(destination, found):
        return
    folders = {destination}
    for entry in found.manifest.files:
        if not (destination / entry.path).exists():
            continue  # left on the node
        sync_file(destination / entry.path)
        folders |= {destination / parent for parent in PurePosixPath(entry.path).parents}
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        sync_folder(folder)
    write_atomic(destination / MANIFEST, found.raw)
    sync_folder(destination.parent)


def _refuse_too_much(destination: Path, node: Node, missing: list[ManifestEntry]) -> None:
    """Raise ShoalError where what is to come would fill the disk here. Nothing is asked for then."""
    wanted = sum(entry.size_bytes for entry in missing)
    with _local_disk(destination):
        free = shutil.disk_usage(destination).free
    if wanted + SPARE_BYTES > free:
        raise ShoalError(
            f"node {node.name} has {wanted} bytes of results to send; {free} bytes are free under {destination}, and "
            f"{SPARE_BYTES} of them stay free",
            hint="make room and type the command again, or set SHOAL_RUNS to a directory on another disk",
        )


@dataclass(slots=True)
class _Source:
    """What a node sends, of which no more is read than is asked for. Raises SshError where it stalls."""

    node: Node
    output: IO[bytes]
    waited_s: float = 0.0
    """For the bytes that came since the last look at how fast they come."""
    came_bytes: int = 0

    def read(self, most_bytes: int) -> bytes:
        """The next bytes; none at the end."""
        handle = self.output.fileno()
        while True:
            begun = time.monotonic()
            ready, _, _ = select.select([handle], [], [], STALL_S - self.waited_s)
            self.waited_s += time.monotonic() - begun
            if self.waited_s >= STALL_S:
                if self.came_bytes < STALL_BYTES:
                    what = f"{self.came_bytes} bytes of its results came in {STALL_S:.0f} s"
                    raise ssh.SshError(self.node, SshFailure.TIMED_OUT, what)
                self.waited_s, self.came_bytes = 0.0, 0
            if ready:
                chunk = os.read(handle, min(most_bytes, CHUNK_BYTES))
                self.came_bytes += len(chunk)
                return chunk


def _bring(cluster: Cluster, node: Node, run: str, destination: Path, missing: list[ManifestEntry]) -> None:
    """One stream of the missing files' content; every file is checked while it is written, and then renamed."""
    short: ManifestEntry | None = None
    with tempfile.TemporaryFile() as names:
        # A name with "./" in front is never taken for an option.
        names.write(b"".join(b"./" + entry.path.encode() + b"\0" for entry in missing))
        names.seek(0)
        command = ("sh", "-c", _SEND, "send", str(NODE_RUNS / run))
        try:
            with ssh.piped(cluster, node, *command, root=True, stdin=names) as output:
                source = _Source(node, output)
                for entry in missing:
                    if not _place(source, entry, destination, node):
                        short = entry
                        break
                else:
                    if source.read(1):
                        raise DamagedResultsError(f"node {node.name} sent more than its manifest of run {run} names")
        except ssh.RemoteError as error:
            if error.remote_exit_code in _XARGS_CODES:
                said = [line for line in error.stderr.splitlines() if line.strip() and not line.startswith("xargs:")]
                why = said[0] if said else error.brief
                raise DamagedResultsError(
                    f"node {node.name} sent only a part of run {run}: {why}", hint=_CHANGED
                ) from None
            raise
    if short:
        raise DamagedResultsError(
            f"node {node.name} sent only a part of run {run}: {short.path!r} is shorter than its manifest says"
        )


def _place(source: _Source, entry: ManifestEntry, destination: Path, node: Node) -> bool:
    """Bring one file; False where the stream ended before it did."""
    with _local_disk(destination):
        target = destination / entry.path
        private_folder(target.parent)
        with tempfile.NamedTemporaryFile(dir=destination / ARRIVING, delete=False) as arriving:
            size_bytes, digest = _copy(source, arriving, entry.size_bytes)
    if size_bytes < entry.size_bytes:
        return False
    if digest != entry.sha256:
        raise DamagedResultsError(
            f"{node.name}:{entry.path} is not what its manifest says: sha256 {digest} of the first {size_bytes} bytes; "
            f"expected {entry.size_bytes} bytes, sha256 {entry.sha256}",
            hint=_CHANGED,
        )
    with _local_disk(destination):
        Path(arriving.name).chmod(PRIVATE_FILE)
        Path(arriving.name).replace(target)
    return True


def _copy(source: _Source, target: IO[bytes], size_bytes: int) -> tuple[int, str]:
    """At most `size_bytes` from `source` to `target`; how many came, and their sha256."""
    digest = hashlib.sha256()
    left = size_bytes
    while left and (chunk := source.read(left)):
        digest.update(chunk)
        target.write(chunk)
        left -= len(chunk)
    return size_bytes - left, digest.hexdigest()


def _fetched(destination: Path, manifest: Manifest) -> Fetched:
    home = [entry for entry in manifest.files if (destination / entry.path).is_file()]
    left = len(manifest.files) - len(home)
    size_bytes = sum(entry.size_bytes for entry in home)
    try:
        counts = documents.read(destination / SUMMARY, RunSummary).events
    except (OSError, DamagedDocumentError):
        counts = None  # a job of another kind, or reported by who reads it
    return Fetched(
        files=len(home),
        size_bytes=size_bytes,
        verified_at=datetime.now(UTC),
        brought="events" if left else "all",
        files_left=left,
        bytes_left=sum(entry.size_bytes for entry in manifest.files) - size_bytes,
        bytes=EventBytes(**counts.bytes.model_dump()) if counts else None,
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
