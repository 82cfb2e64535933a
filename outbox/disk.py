"""Every write of the outbox: a temporary name, fsync, rename, fsync of the folder; and locks between processes.

A kill or a power cut at any moment leaves the old file or the new one. Leftovers end in `.part`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

CHUNK_BYTES = 1 << 20
PART = ".part"
FOLDER_MODE = 0o750
FILE_MODE = 0o640


class HeldError(Exception):
    """Another process holds the lock."""


class NotPlainError(Exception):
    """A pipe, a folder or a device where a file should be."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: its hashes and its size in bytes."""

    sha256: str
    md5: str
    """Stores speak MD5 (an S3 ETag, a GCS md5Hash); it says that what arrived is what was sent, no more."""
    size_bytes: int


def folder(path: Path) -> None:
    """Make a folder whose parent is there, durably; one that is there stays."""
    try:
        os.mkdir(path, FOLDER_MODE)  # noqa: PTH102 - one call that a test can stand in for
    except FileExistsError:
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None
        return
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _give(handle, path.parent)
    finally:
        os.close(handle)
    sync_folder(path.parent)


def _new_part(part: Path) -> int:
    """A file that was not there before, opened to be written; what a kill left under its name is gone.

    The folder is the shipper's, and the collector, which is root, writes through no link that is put there.
    """
    with suppress(FileNotFoundError):
        os.unlink(part)  # noqa: PTH108
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    _give(handle, part.parent)
    return handle


def _give(handle: int, parent: Path) -> None:
    """Give a file or folder that root made to the owner of the folder it lies in: the shipper has a user of its own."""
    if os.geteuid() == 0:
        place = parent.stat()
        os.fchown(handle, place.st_uid, place.st_gid)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, data: bytes) -> None:
    """Replace a file in one step that survives a power cut."""
    part = path.with_name(f".{path.name}{PART}")
    handle = _new_part(part)
    try:
        _write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(part, path)  # noqa: PTH105
    sync_folder(path.parent)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """`write` of a JSON document."""
    write(path, json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The document in a file, None where there is none. Raises ValueError where it is damaged."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object")  # noqa: TRY004 - its content, not a caller's value
    return found


def move(source: Path, target: Path) -> None:
    """Rename durably, perhaps into another folder."""
    os.replace(source, target)  # noqa: PTH105
    # The new name first: cut in between, the file has both names or the new one, and never none.
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def remove(path: Path) -> None:
    """Delete a file durably; nothing where it is not there."""
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return
    sync_folder(path.parent)


def plain_file(path: Path) -> BinaryIO:
    """A file of a folder that belongs to a container, opened to be read: never through a link, nor a pipe, which would
    be waited for without end. Raises OSError and NotPlainError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotPlainError(f"{path.name} is no plain file")
    return os.fdopen(handle, "rb")


def copy(source: Path, part: Path, most_bytes: int) -> Content:
    """Copy a file to `part` (durable but for its name) and hash what was copied, which is one byte more than
    `most_bytes` where it is longer. Raises OSError and NotPlainError."""
    digests = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size_bytes = 0
    with plain_file(source) as stream:
        handle = _new_part(part)
        try:
            while chunk := stream.read(min(CHUNK_BYTES, most_bytes + 1 - size_bytes)):
                _write_all(handle, chunk)
                size_bytes += len(chunk)
                for digest in digests:
                    digest.update(chunk)
            os.fsync(handle)
        finally:
            os.close(handle)
    return Content(digests[0].hexdigest(), digests[1].hexdigest(), size_bytes)


def content_of(data: bytes) -> Content:
    """The hashes and the size of bytes."""
    return Content(hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest(), len(data))


def sha256_of(path: Path) -> str | None:
    """Hex SHA-256 of a file, None where it is not there."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[int]:
    """Hold a lock file; the kernel lets go of it when its holder and all that inherited it have ended.

    Gives the descriptor, for a child to inherit. Raises HeldError where another holds it and `wait` is not set.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        _give(handle, path.parent)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise HeldError(str(path)) from None
        yield handle
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
