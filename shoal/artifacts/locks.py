"""One writer per thing in the cache: a lock between processes, and the type of the function that tells progress."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

Say: TypeAlias = Callable[[str], None]
"""Told one line of progress at a time; `shoal.cli.console.say` in commands."""


def quiet(message: str) -> None:
    """A `Say` that tells nobody."""
    del message


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
