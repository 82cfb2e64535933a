"""What a new run and one that is taken up again have in common: the engine driven, the nodes followed, the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from shoal.cluster.document import Cluster, Engine
from shoal.engines.choice import runner_for
from shoal.engines.protocol import Runner
from shoal.errors import Exit, ShoalError, of_this_machine
from shoal.interrupts import ReportedInterrupt
from shoal.results import record as runs
from shoal.results.record import Outcome, RunRecord
from shoal.run import image_needs
from shoal.run.follow import follow
from shoal.run.give import give
from shoal.run.work import Begun, Work


def carry_out(work: Work, begin: Callable[[], Begun], *, weights_path: Path | None, attempts: int | None) -> RunRecord:
    """Begin, follow every node to its end, and close the record; gives it as it stands then.

    Whatever ends it before that says how the run goes on.
    """
    with _reporting_how_it_goes_on(work):
        follow(work, begin(), partial(give, work, weights_path), attempts)
        work.record.finished_at = datetime.now(UTC)
        runs.save(work.record)
        if not work.record.missing:
            image_needs.forget(work.cluster, work.record.run)
        return work.record


def hand_in(work: Work, begin: Callable[[], Begun]) -> RunRecord:
    """Begin and leave it at that: the nodes go on by themselves, and `shoal.run.resume` follows them."""
    with _reporting_how_it_goes_on(work):
        begin()
        return work.record


@contextmanager
def driving(given: Runner | None, engine: Engine, cluster: Cluster) -> Iterator[Runner]:
    """The runner of a run; one that is made here is closed at the end."""
    if given is not None:
        yield given
        return
    driver = runner_for(engine, cluster)
    try:
        yield driver
    finally:
        driver.close()


def exit_code(record: RunRecord, *, fetch: bool = True) -> Exit:
    """0 only where every expected node finished without faults and, unless not wanted, its results are home."""
    whole = record.complete if fetch else all(node.outcome is Outcome.FINISHED for node in record.nodes.values())
    return Exit.OK if whole else Exit.INCOMPLETE


@contextmanager
def _reporting_how_it_goes_on(work: Work) -> Iterator[None]:
    """Whatever ends a run that was begun, also while containers are being started, says how it goes on.

    `shoal run` typed again would begin another one beside the containers that still run.
    """
    what_to_do = f"`shoal resume {work.record.run}` goes on, and adopts what still runs"
    try:
        yield
    except OSError as error:
        if error.errno is None:
            work.note(f"ended by a fault; {what_to_do}")
            raise  # not the system's own word: a library's
        ours = of_this_machine(error)
        raise ShoalError(ours.message, hint=f"mend what is named; then {what_to_do}") from error
    except BaseException as error:
        how = "interrupted" if isinstance(error, KeyboardInterrupt) else "ended before it was whole"
        work.note(f"{how}; {what_to_do}")
        if isinstance(error, KeyboardInterrupt):
            raise ReportedInterrupt from None
        raise
