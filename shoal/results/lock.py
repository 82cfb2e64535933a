"""One shoal process at a time works on a run: a second one would start what the first is already following."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from shoal import locks
from shoal.errors import ShoalError
from shoal.results.record import load, refuse_known, run_dir

FORKED_S = 1.0
"""A process that a holder was just starting when it ended has the holder's descriptor for a moment."""


class BusyError(ShoalError):
    """Another process works on the run."""


@contextmanager
def locked(run: str, *, new: bool = False) -> Iterator[None]:
    """Hold the run's lock; the kernel lets go of it whatever becomes of this process.

    Raises BusyError where another process holds it, UsageError where there is no such run, or with `new` where there
    is one.
    """
    if not new:
        load(run)  # a lock makes the run's folder, which a mistyped id must not leave behind
    with ExitStack() as held:
        try:
            held.enter_context(locks.locked(run_dir(run) / ".lock", what=f"run {run}", timeout_s=FORKED_S))
        except locks.HeldError as error:
            raise BusyError(
                f"another shoal process works on run {run} ({error.holder})", hint="wait for its end, or end it first"
            ) from None
        if new:
            refuse_known(run)  # once more: another process may have had it from its start to its end meanwhile
        yield
