"""Exit codes, and the errors that end the program with one of them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `shoal-detect`, as in `schemas/exit_codes.json`, which the control side keeps to as well."""

    DONE = 0
    USAGE = 2
    """Bad arguments, or other settings than the run was begun with; no result was touched."""
    FAULTY_VIDEOS = 3
    """Done and the manifest is written, but at least one video was faulty."""
    NO_VIDEOS = 4
    WEIGHTS = 5
    STATE = 6
    """No space left, or the state folder cannot be written."""


class DetectorError(Exception):
    """A failure reported in one line, with the exit code that goes with it."""

    def __init__(self, message: str, exit_code: Exit) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class Interrupted(Exception):  # noqa: N818 - not a failure: somebody asked for it
    """SIGTERM or SIGINT was received; raised between two frames, never in the middle of a write."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"signal {signal_number}")
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """128 + signal number, as shells count: 130 or 143."""
        return 128 + self.signal_number


class OutOfMemory(Interrupted):
    """The kernel killed a process of this program for want of memory. A run ends with it as with every signal."""

    def __str__(self) -> str:
        return "its process ran out of memory"
