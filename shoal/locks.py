"""One writer per thing in the cache: a lock between processes, and the type of the function that tells progress."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shoal.telling import Say, quiet


@contextmanager
def locked(path: Path, *, what: str, say: Say = quiet) -> Iterator[None]:
    """Hold the lock file at `path`; wait, saying so, while another process holds it.

    The kernel releases it when its holder ends, however it ends. The file itself stays: removing it would let two
    processes each lock a file of that name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is busy with {what}; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def held(path: Path, say: Say, what: str) -> Iterator[int]:
    """Hold the lock at `path` for the block; waits, and says so, while another command holds it. Gives the descriptor.

    A holder may delete the file at its end; whoever waited for it then takes the new one.
    """
    descriptor = _take(path, say, what)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(path: Path, say: Say, what: str) -> int:
    told = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                say(f"lab: another command (process {holder}) is at work on {what}; waiting for it")
                told = True
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_current(descriptor, path):
            # For people only: a full disk must not keep anybody from taking a lab down.
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            return descriptor
        os.close(descriptor)


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
