"""One shoal process at a time works on a run: a second one would start what the first is already following."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from shoal.errors import ShoalError
from shoal.results.record import load, refuse_known, run_dir


@contextmanager
def locked(run: str, *, new: bool = False) -> Iterator[None]:
    """Hold the run's lock; the kernel lets go of it whatever becomes of this process.

    Raises ShoalError where another process holds it, UsageError where there is no such run, or with `new` where there
    is one.
    """
    if not new:
        load(run)  # a lock makes the run's folder, which a mistyped id must not leave behind
    path = run_dir(run) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise ShoalError(
                f"another shoal process works on run {run} ({stream.read().strip() or 'just started'})",
                hint="wait for its end, or end it first",
            ) from None
        stream.truncate(0)
        stream.write(json.dumps({"pid": os.getpid()}))
        stream.flush()
        if new:
            refuse_known(run)  # once more: another process may have had it from its start to its end meanwhile
        try:
            yield
        finally:
            # Closing alone does not do it: a program that a thread is just starting has the descriptor until its exec.
            fcntl.flock(stream, fcntl.LOCK_UN)
