"""What a node's results are when they are not what its own documents say, and the name of that outcome."""

from __future__ import annotations

from shoal.errors import Fault, ShoalError


class DamagedResultsError(ShoalError):
    """A node's documents or files are damaged, or were tampered with: the outcome `damaged_results` of that node.

    Never transient: the node sends the same again. The other nodes of the run are not touched by it.
    """

    def __init__(self, message: str, *, hint: str | None = None, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message, hint=hint, faults=faults)

    @property
    def in_one_line(self) -> str:
        """The message with its first fault, for a run's record."""
        return f"{self.message}: {self.faults[0]}" if self.faults else self.message
