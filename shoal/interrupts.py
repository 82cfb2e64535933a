"""Ctrl-C while modules are loaded: it ends the command at once, for the import system would swallow it at times."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130


class ReportedInterrupt(KeyboardInterrupt):
    """Ctrl-C, after it was reported what goes on and how it is taken up."""


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Within it Ctrl-C ends the process with 130. For imports alone: nothing is begun yet that wants an end.

    A KeyboardInterrupt that is raised in a callback of the import system is printed there and lost.
    """
    ours = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not ours or before is not signal.default_int_handler:  # somebody else's, or ignored: theirs to say
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    os._exit(INTERRUPTED)
