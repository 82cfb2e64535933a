"""Ending on request: the signal handlers only take a note, the work asks for it between frames."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from shoal_detect.errors import Interrupted


class Stop:
    """Remembers the first SIGTERM or SIGINT."""

    def __init__(self) -> None:
        self._signal_number: int | None = None
        self._asked = threading.Event()

    def install(self) -> None:
        """Handle both signals. As PID 1 of a container the default would be to ignore SIGTERM."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._signal_number is None:
            self._signal_number = number
        self._asked.set()

    def check(self) -> None:
        """Raise Interrupted if a signal came."""
        if self._signal_number is not None:
            raise Interrupted(self._signal_number)

    def wait(self, timeout_s: float) -> None:
        """Wait, but no longer than until a signal comes; then raise Interrupted."""
        self._asked.wait(timeout_s)
        self.check()
