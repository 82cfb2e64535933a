"""A run followed to its end: lines shown, outcomes recorded, each node's results fetched, or its next attempt begun, as
soon as its share is over, whatever the others do.

Threads of their own read logs, ask nodes, fetch and begin attempts. The record is touched, and things are told, under
the work's lock.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from shoal.engines.killed import is_open
from shoal.engines.protocol import Execution, Handle, Runner, State
from shoal.errors import ShoalError
from shoal.results import fetch as results
from shoal.results import record as runs
from shoal.results.damaged import DamagedResultsError
from shoal.results.documents import Manifest
from shoal.results.record import HAS_MANIFEST, Fetched, Outcome
from shoal.run.background import in_background
from shoal.run.outcomes import outcome_of
from shoal.run.work import Begun, Event, Happening, Heal, Work
from shoal.ssh.client import SshError
from shoal.ssh.failures import brief

POLL_S = 0.25
"""How often the engine is asked how the executions stand."""
LAST_LINES_S = 5.0
"""How long the lines of an ended container may take to arrive before it is removed."""


@dataclass(frozen=True, slots=True)
class _Settled:
    outcome: Outcome
    message: str
    exit_code: int | None
    may_go_on: bool = False
    """Whether nobody saw the container end."""


@dataclass(slots=True)
class _Now:
    """What is under way."""

    open: set[tuple[Handle, str]]
    readers: dict[tuple[Handle, str], threading.Thread]
    settling: dict[Future[_Settled], tuple[Handle, str]]
    fetching: dict[Future[Fetched], str]
    healing: dict[Future[Begun], str]
    heal: Heal
    lines: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)
    releasing: list[Future[None]] = field(default_factory=list)
    to_heal: dict[Future[None], str] = field(default_factory=dict)
    """Nodes whose share ended without a manifest, by the release of what ended: a next attempt that still found that
    container would adopt it, and lose it to the release."""
    stopping: dict[Future[list[str]], Handle] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)
    """Nodes whose container nobody saw end."""

    @property
    def under_way(self) -> bool:
        """Whether there is anything left to wait for."""
        return (
            bool(self.open or self.settling or self.fetching or self.healing or self.to_heal)
            or not all(future.done() for future in self.releasing)
            or not all(future.done() for future in self.stopping)
        )


def follow(work: Work, begun: Begun, heal: Heal) -> None:
    """Follow what was begun until every node's share is over and `heal` begins nothing more, and fetch all results.

    Ctrl-C asks once for all containers to end and waits for that; a second one leaves them. Both end in
    KeyboardInterrupt, with the record saved.
    """
    now = _Now(set(), {}, {}, {}, {}, heal)
    with _counted_interrupts() as presses:
        _take_up(work, now, begun)
        while now.under_way:
            _tell_lines(work, now.lines)
            _look(work, now)
            if presses and not work.cancelled.is_set():
                work.note("stopping the containers; Ctrl-C again leaves them running")
                work.cancelled.set()
                _stop(work, now, {handle for handle, _ in now.open})
            if len(presses) > 1:
                break
        _tell_lines(work, now.lines, wait=False)
    if presses:
        _tell_what_runs_on(work, now)
        raise KeyboardInterrupt


def _take_up(work: Work, now: _Now, begun: Begun) -> None:
    """Follow what was begun as well."""
    for handle in begun.handles:
        over = {execution.node for execution in work.runner.executions(handle) if execution.over}
        for node in handle.nodes:
            now.open.add((handle, node))
            if node not in over:
                now.readers[handle, node] = _read_lines(work.runner, handle, node, now.lines)
    for node in begun.finished:
        now.unseen.discard(node)
        _fetch(work, now, node)
    for node in begun.ended:
        _heal(work, now, node)
    for node in begun.waiting:
        now.healing[now.heal.in_turn(node)] = node
    if work.cancelled.is_set():
        _stop(work, now, begun.handles)  # it was on its way when Ctrl-C came


def _heal(work: Work, now: _Now, node: str) -> None:
    if not work.cancelled.is_set() and (begun := now.heal(node)) is not None:
        now.healing[begun] = node


def _stop(work: Work, now: _Now, handles: Iterable[Handle]) -> None:
    now.stopping |= {in_background(partial(work.runner.stop, handle)): handle for handle in handles}


def _look(work: Work, now: _Now) -> None:
    """Take in what changed since the last look."""
    for handle in {handle for handle, _ in now.open}:
        for execution in work.runner.executions(handle):
            key = (handle, execution.node)
            if execution.over and key in now.open:
                now.open.discard(key)
                now.settling[_settle_later(work, execution, now.readers.get(key))] = key
    for settled in [future for future in now.settling if future.done()]:
        handle, node = now.settling.pop(settled)
        end = settled.result()
        if end.may_go_on:
            now.unseen.add(node)
        work.end(node, handle.attempt, end.outcome, end.message, end.exit_code)
        # Only now: the record knows what the container was the evidence of.
        released = in_background(partial(work.runner.release, handle, node))
        now.releasing.append(released)
        if end.outcome in HAS_MANIFEST:
            now.unseen.discard(node)
            _fetch(work, now, node)
        else:
            now.to_heal[released] = node
    for released in [future for future in now.to_heal if future.done()]:
        _heal(work, now, now.to_heal.pop(released))
    for begun in [future for future in now.healing if future.done()]:
        node = now.healing.pop(begun)
        try:
            given = begun.result()
        except (ShoalError, OSError) as error:
            _not_given(work, now, node, error)
        else:
            _take_up(work, now, given)
    _look_at_fetches(work, now)


def _not_given(work: Work, now: _Now, node: str, error: ShoalError | OSError) -> None:
    """Record why a node's next attempt was not begun; where that may pass, it has the one after it."""
    why = f"could not be given the run again: {error if isinstance(error, ShoalError) else brief(error)}"
    entry = work.record.nodes[node]
    if entry.outcome is Outcome.PENDING:
        number = entry.attempts[-1].number if entry.attempts else work.next_attempt()
        work.end(node, number, Outcome.UNREACHABLE, why)
    else:
        work.note(why, node)
    if isinstance(error, OSError) or error.transient:
        _heal(work, now, node)


def _look_at_fetches(work: Work, now: _Now) -> None:
    for fetch in [future for future in now.fetching if future.done()]:
        node = now.fetching.pop(fetch)
        try:
            fetched = fetch.result()
        except DamagedResultsError as error:
            work.damaged(node, error.in_one_line)
            continue
        except (ShoalError, OSError) as error:
            what = error.message if isinstance(error, ShoalError) else brief(error)
            work.note(f"results not brought home: {what}", node)
            continue
        work.home(node, fetched)


def _settle_later(work: Work, execution: Execution, reader: threading.Thread | None) -> Future[_Settled]:
    def settle() -> _Settled:
        if reader:
            reader.join(LAST_LINES_S)
        manifest: Manifest | None = None
        note = ""
        try:
            node = work.cluster.node(execution.node)
            # A lost node was waited for already.
            patience_s = 0.0 if execution.state is State.LOST else results.PATIENCE_S
            found = results.node_manifest_in_time(work.cluster, node, work.record.run, patience_s=patience_s)
            manifest = found.manifest if found else None
        except (SshError, OSError) as error:
            may_go_on = _may_go_on(execution)
            return _Settled(Outcome.UNREACHABLE, _unasked(execution, error), execution.exit_code, may_go_on)
        except DamagedResultsError as error:
            return _Settled(Outcome.DAMAGED_RESULTS, error.in_one_line, execution.exit_code)
        except ShoalError as error:
            note = f"; {error.message}"
        known = work.runner.examine(execution) if manifest is None and is_open(execution) else execution
        outcome, message = outcome_of(known, manifest)
        may_go_on = outcome is Outcome.UNREACHABLE and _may_go_on(execution)
        return _Settled(outcome, message + note, execution.exit_code, may_go_on)

    return in_background(settle)


def _may_go_on(execution: Execution) -> bool:
    """Whether a container was begun and only the engine's word stands for its end: nobody saw an exit code."""
    by_word = execution.state in (State.LOST, State.STOPPED, State.TIMED_OUT)
    return by_word and execution.exit_code is None and bool(execution.id)


def _unasked(execution: Execution, error: SshError | OSError) -> str:
    """Why a node could not be asked how far it is, and what the engine said, which has only its own word for it."""
    why, said = brief(error), execution.message
    if not said or execution.state is State.STOPPED:
        return why
    return said if why in said else f"{why}; {said}"


def _fetch(work: Work, now: _Now, node: str) -> None:
    if work.fetch:
        destination = runs.run_dir(work.record.run) / node
        now.fetching[in_background(lambda: work.runner.fetch(work.record.run, node, destination))] = node


def _read_lines(runner: Runner, handle: Handle, node: str, lines: queue.SimpleQueue[Event]) -> threading.Thread:
    def body() -> None:
        try:
            for line in runner.logs(handle, node):
                lines.put(Event(Happening.LINE, line, node))
        except (ShoalError, OSError) as error:
            lines.put(Event(Happening.NOTE, f"its lines cannot be read any more, it goes on: {brief(error)}", node))

    thread = threading.Thread(target=body, name=f"lines of {node}", daemon=True)
    thread.start()
    return thread


def _tell_lines(work: Work, lines: queue.SimpleQueue[Event], *, wait: bool = True) -> None:
    """Tell the lines that came; wait a moment for the first."""
    try:
        event = lines.get(timeout=POLL_S) if wait else lines.get_nowait()
        while True:
            work.say(event)
            event = lines.get_nowait()
    except queue.Empty:
        return


def _tell_what_runs_on(work: Work, now: _Now) -> None:
    left = {node for _, node in now.open} | now.unseen
    for handle, node in now.settling.values():
        # Called over by the engine, and the node has not been heard yet.
        executions = {execution.node: execution for execution in work.runner.executions(handle)}
        if _may_go_on(executions[node]):
            left.add(node)
    for stopping in [future for future in now.stopping if future.done()]:
        try:
            left |= set(stopping.result())
        except (ShoalError, OSError) as error:
            work.note(f"could not be stopped: {brief(error)}")
            left |= set(now.stopping[stopping].nodes)
    if left:
        work.note(f"may go on running on: {', '.join(sorted(left))}")


@contextmanager
def _counted_interrupts() -> Iterator[list[int]]:
    """Ctrl-C counted instead of raised: an outcome that is being recorded is never torn."""
    presses: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: presses.append(number))
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, before)
