"""Small file helpers that every room needs: hashing, private folders, and writing that survives a power cut.

What shoal keeps on the control machine (results, cluster documents, state) belongs to its user alone: folders are made
with mode 0700 and files with 0600, whatever the umask is.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

CHUNK_BYTES = 1 << 20
PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
FOR_ALL = 0o644
"""Of files that other users are meant to read."""


def private_folder(path: Path) -> None:
    """Make the folder and its missing parents with mode 0700, independent of the umask; one that is there stays.

    Raises OSError as the file system gives it.
    """
    missing = [path, *path.parents]
    while missing and missing[-1].exists():
        missing.pop()
    for folder in reversed(missing):
        try:
            folder.mkdir(mode=PRIVATE_FOLDER)
        except FileExistsError:
            continue  # another process made it in between
        folder.chmod(PRIVATE_FOLDER)  # mkdir's mode is cut by the umask
    if not path.is_dir():
        path.mkdir()  # says in the system's words what is in the way


def close_to_others(path: Path) -> None:
    """Take away what others may do with a folder of ours from an earlier version; nothing where it is not there."""
    try:
        facts = path.stat()
    except OSError:
        return
    if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and facts.st_mode & 0o077:
        path.chmod(PRIVATE_FOLDER)


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk, so that the names in it survive a power cut."""
    sync_path(path, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Flush a file's content to disk."""
    sync_path(path, 0)


def sync_path(path: Path, flags: int) -> None:
    """`fsync` of a path. Raises OSError with its name."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(handle)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(handle)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomic(path: Path, data: bytes | str, *, mode: int = PRIVATE_FILE) -> None:
    """Write `data` beside `path`, flush it to disk, rename it over `path`, and flush the folder.

    A crash or a power cut at any moment leaves either the old file or the new one. Raises OSError as the file system
    gives it, but always with the name of `path`.
    """
    payload = data.encode() if isinstance(data, str) else data
    try:
        private_folder(path.parent)
        _write_and_rename(path, payload, mode)
    except OSError as error:
        # The name of the file beside it says nothing to a reader.
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_and_rename(path: Path, payload: bytes, mode: int) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
