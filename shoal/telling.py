"""The function that takes one line of progress at a time, which most verbs are given."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from shoal.terminal import LAYOUT, printable

Say: TypeAlias = Callable[[str], None]
"""Takes one line of progress at a time; `shoal.cli.console.say` in commands."""


def quiet(message: str) -> None:
    """A `Say` that discards the line."""
    del message


def to_stderr(message: str) -> None:
    """One line on stderr at once, so that a log shows where a killed command was."""
    sys.stderr.write(printable(message, keep=LAYOUT) + "\n")
    sys.stderr.flush()


@contextmanager
def stage(say: Say, what: str, done: str) -> Iterator[None]:
    """Say `lab: what ...` before the block and `lab: done in N s` after it; a block that fails says nothing more."""
    say(f"lab: {what} ...")
    begun = time.monotonic()
    yield
    say(f"lab: {done} in {time.monotonic() - begun:.1f} s")
