"""Opens a recording without ever waiting for it, and finds out whether it is still being written."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

SETTLED_S = 3.0
"""Where the kernel cannot be asked who writes, a file is taken as finished when it was not written to for this long."""


class Unopened(Exception):  # noqa: N818 - an outcome of a listed file, not a failure of the program
    """Why a listed file cannot be read, as the rest of a sentence."""


@dataclass(frozen=True, slots=True)
class State:
    """What a file was like at one moment."""

    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Source:
    """An open file; `handle` is a descriptor of a regular file, read by position only."""

    handle: int
    path: str
    opened: State
    alive: Callable[[], None]
    """Called before every read; what it raises ends the reading."""

    def now(self) -> State:
        """The file as it is at this moment, under whatever name or none. Raises OSError."""
        return _state(os.fstat(self.handle))

    def head(self, size_bytes: int, start: int = 0) -> bytes:
        """Some bytes of it. Raises OSError."""
        return os.pread(self.handle, size_bytes, start)


def quietly() -> None:
    """Reads are not logged."""


@contextmanager
def opened(path: str, alive: Callable[[], None] = quietly) -> Iterator[Source]:
    """Open a regular file; a pipe or a device that took its place is refused at once. Raises Unopened."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise Unopened("is not a regular file") from None
        raise Unopened(f"cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise Unopened("is not a regular file")
        yield Source(handle, path, _state(status), alive)
    finally:
        os.close(handle)


def _state(status: os.stat_result) -> State:
    return State(status.st_size, status.st_mtime_ns)


def still_written(source: Source) -> str | None:
    """How it is known that the file is being written, as the rest of a sentence; None where it is not.

    A read lease is refused by the kernel while the file is open for writing anywhere on this machine, in another
    container too (fcntl(2), F_SETLEASE). Only a file's owner may ask, and not on every file system: else the time of
    the last change decides.
    """
    writer = _open_for_writing(source.handle)
    if writer is None:
        age_s = time.time() - source.now().mtime_ns / 1e9
        return f"it was written to {age_s:.1f} s ago" if 0 <= age_s < SETTLED_S else None
    return "a program has it open for writing" if writer else None


def _open_for_writing(handle: int) -> bool | None:
    """None where the kernel does not say."""
    try:
        # Somebody who opens the file in the moment of the lease makes the kernel signal us: by one that is ignored.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    with suppress(OSError):
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


class Bytes(Protocol):
    """What looks into files need of them."""

    def read(self, size_bytes: int, /) -> bytes:
        """At most so many bytes from the current position."""
        ...

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move, and return the new position."""
        ...

    def tell(self) -> int:
        """The current position."""
        ...


class Window:
    """A range of a source as a file object: FFmpeg reads the parts of a recording through it.

    `name` is for FFmpeg's guess by the end of a name; it is never opened.
    """

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.name = os.path.basename(source.path)  # noqa: PTH119 - the name may hold bytes that are not UTF-8
        self._source = source
        self._start, self._end = start, end
        self._position = 0

    def read(self, size_bytes: int) -> bytes:
        """At most so many bytes from the current position. Raises OSError."""
        self._source.alive()
        at = self._start + self._position
        data = os.pread(self._source.handle, max(0, min(size_bytes, self._end - at)), at)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, and return the new position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end - self._start}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The current position."""
        return self._position
