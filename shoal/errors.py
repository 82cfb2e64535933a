"""Errors meant for the person at the terminal, and the exit codes that go with them."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every `shoal` command (documented in docs/cli.md)."""

    OK = 0
    FAILED = 1
    """Something went wrong outside of the user's input: a machine, the network, a full disk."""
    USAGE = 2
    """Bad input: a flag, a file, a document; nothing was changed."""
    INCOMPLETE = 3
    """The command ended, but a part of it did not: nodes without a result, faulty videos, a missing file."""
    MISSING = 4
    """A program, an engine or an artefact that is needed is not there."""
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where: a file, a field's path or a host."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class ShoalError(Exception):
    """A failure as the user reads it: what was wrong, where, and what to do about it.

    The CLI prints `message`, each fault on a separate line and `hint`, and ends with `exit_code`.
    """

    transient = False
    """Whether the same may go well a little later, without anybody's doing."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        faults: tuple[Fault, ...] = (),
        exit_code: Exit = Exit.FAILED,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.faults = faults
        self.exit_code = exit_code

    def __str__(self) -> str:
        lines = [self.message, *(f"  - {fault}" for fault in self.faults)]
        if self.hint:
            lines.append(f"  what to do: {self.hint}")
        return "\n".join(lines)


_FULL = "make room on that disk and type the command again: what is done is not done twice"
_PLACES = "docs/cli.md says where things are kept, and which variable puts them elsewhere"
_SYSTEM_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _PLACES,
    errno.EPERM: _PLACES,
    errno.EROFS: _PLACES,
    errno.ENOTDIR: _PLACES,
}


def of_this_machine(error: OSError) -> ShoalError:
    """What this machine's system refused, in words: a full disk, a folder that may not be written, a name in use."""
    places = [str(place) for place in (error.filename, error.filename2) if place is not None]
    what = error.strerror or str(error)
    return ShoalError(
        f"{' and '.join(places)}: {what}" if places else f"this machine says: {what}",
        hint=_SYSTEM_HINTS.get(error.errno or 0, "mend what is named and type the command again"),
    )


class UsageError(ShoalError):
    """Refused input; raised before anything was changed."""

    def __init__(self, message: str, *, hint: str | None = None, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message, hint=hint, faults=faults, exit_code=Exit.USAGE)
