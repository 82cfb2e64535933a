"""One shoal process at a time works on a run: a second one would start what the first is already following."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from shoal.errors import ShoalError
from shoal.runs import run_dir


@contextmanager
def locked(run: str) -> Iterator[None]:
    """Hold the run's lock; the kernel lets go of it whatever becomes of this process.

    Raises ShoalError where another process holds it.
    """
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
        yield
