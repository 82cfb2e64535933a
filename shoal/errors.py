"""Errors meant for the person at the terminal, and the exit codes that go with them."""

from __future__ import annotations

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
    """A failure told to the user in full: what was wrong, where, and what to do about it.

    The CLI prints `message`, every fault on a line of its own and `hint`, and ends with `exit_code`.
    """

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


class UsageError(ShoalError):
    """Refused input; raised before anything was changed."""

    def __init__(self, message: str, *, hint: str | None = None, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message, hint=hint, faults=faults, exit_code=Exit.USAGE)
