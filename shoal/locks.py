"""Locks between processes: one file, held by one process at a time, whose next taker waits or is refused.

The kernel releases a lock when its holder ends, however it ends, and when every process that inherited its descriptor
has ended. The file itself may stay; where a holder deletes it, whoever waited takes the new one.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shoal.errors import ShoalError
from shoal.telling import Say, quiet
from shoal.waiting import looks

POLL_S = 0.2
_HOLDER_BYTES = 32


class HeldError(ShoalError):
    """Another process holds the lock, and goes on holding it."""

    def __init__(self, path: Path, what: str, holder: str) -> None:
        super().__init__(f"another shoal process ({holder}) is at work on {what}", hint=f"see who holds {path}, end it")
        self.holder = holder
        """`process N`, as far as the file says."""


@contextmanager
def locked(path: Path, *, what: str, say: Say = quiet, timeout_s: float = math.inf) -> Iterator[int]:
    """Hold the lock file at `path` for the block; gives its descriptor, which a child process may inherit.

    While another process holds it, this one waits, and says so once, for at most `timeout_s`; 0 refuses at once.
    Raises HeldError.
    """
    descriptor = _take(path, what, say, timeout_s)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(path: Path, what: str, say: Say, timeout_s: float) -> int:
    holder = "unknown"
    for look in looks(POLL_S, timeout_s=timeout_s):
        descriptor, holder = _try(path)
        if descriptor is not None:
            return descriptor
        if look.first and not look.last:
            say(f"another command ({holder}) is at work on {what}; waiting for it")
    raise HeldError(path, what, holder)


def _try(path: Path) -> tuple[int | None, str]:
    """The descriptor of the lock, or None and who holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        number = os.pread(descriptor, _HOLDER_BYTES, 0).decode(errors="replace").strip()
        os.close(descriptor)
        return None, f"process {number}" if number.isdigit() else "just started"
    except OSError:
        os.close(descriptor)
        raise
    if not _is_current(descriptor, path):
        os.close(descriptor)  # its holder deleted the file: whoever comes now takes the new one
        return None, "just ended"
    # For people only: a full disk must not keep anybody from taking a lab down.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor, ""


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
