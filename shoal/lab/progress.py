"""How the lab tells what it does: plain lines, with the time a stage took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]


def to_stderr(message: str) -> None:
    """One line on stderr at once, so that a log shows where a killed command was."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


@contextmanager
def stage(say: Say, what: str, done: str) -> Iterator[None]:
    """Say `lab: what ...` before the block and `lab: done in N s` after it; a block that fails says nothing more."""
    say(f"lab: {what} ...")
    begun = time.monotonic()
    yield
    say(f"lab: {done} in {time.monotonic() - begun:.1f} s")
