"""One writer at a time in a state folder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from shoal_detect.progress import report
from shoal_detect.state.store import state_errors
from shoal_detect.stop import Stop

POLL_S = 0.2


@contextmanager
def locked(state: Path, stop: Stop) -> Iterator[None]:
    """Hold the state folder's lock; wait as long as another instance holds it. The kernel frees it when we die.

    Raises Interrupted while waiting, DetectorError(STATE) where the lock file cannot be written.
    """
    with state_errors("take the lock in", state):
        state.mkdir(parents=True, exist_ok=True)
        handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(handle, state, stop)
        with state_errors("write the lock in", state):
            os.ftruncate(handle, 0)
            os.pwrite(handle, _holder().encode(), 0)
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, state: Path, stop: Stop) -> None:
    waiting = False
    while True:
        stop.check()
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                with state_errors("lock", state):
                    raise
        else:
            return
        if not waiting:
            waiting = True
            report("waiting", text=f"waiting for another instance that holds the lock{_described(handle)}")
        stop.wait(POLL_S)


def _holder() -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started_at": now}) + "\n"


def _described(handle: int) -> str:
    """Who holds the lock, as far as its content shows; it is for people only."""
    with suppress(ValueError, KeyError, TypeError):
        holder = json.loads(os.pread(handle, 4096, 0))
        return f" (process {holder['pid']} on {holder['host']} since {holder['started_at']})"
    return ""
