"""A run followed to its end, one thread per node: its container is watched, its outcome recorded, and its results
fetched or its next attempt begun, whatever the other nodes do.

The thread that calls `follow` only counts Ctrl-C and waits.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from shoal.engines import orphans
from shoal.engines.killed import is_open
from shoal.engines.protocol import Execution, Handle, Runner, State
from shoal.errors import ShoalError
from shoal.jobs.spec import parse
from shoal.results import fetch as results
from shoal.results import record as runs
from shoal.results.damaged import DamagedResultsError
from shoal.results.documents import Manifest
from shoal.results.record import HAS_MANIFEST, Outcome
from shoal.run import detector_lines
from shoal.run.background import in_background
from shoal.run.detector_lines import Progress
from shoal.run.outcomes import outcome_of
from shoal.run.reattempt import Reattempts
from shoal.run.work import Begun, Event, Give, Happening, Work
from shoal.ssh.client import SshError
from shoal.ssh.failures import brief
from shoal.waiting import looks

POLL_S = 0.25
"""How often the engine is asked how an execution stands, and Ctrl-C looked for."""
LAST_LINES_S = 5.0
"""How long the lines of an ended container may take to arrive before it is removed."""
SILENCE_S = 30.0
"""After so long without a line it is reported, and again each time the silence has doubled."""
OVERDUE_POLL_S = 5.0
"""How often a node whose container waits for the run's lock is searched for one that is over its time limit."""


def follow(work: Work, begun: Begun, give: Give, attempts: int | None) -> None:
    """Follow what was begun until every node's part is over, with up to `attempts` attempts each; fetch all results.

    Ctrl-C asks once for all containers to end and waits for that; a second one leaves them. Both end in
    KeyboardInterrupt, with the record saved. What a node's thread raises, a fault of this machine, ends the run.
    """
    stops = _Stops(work.runner)
    parts = [_Part(work, node, Reattempts(work, node, give, attempts), stops) for node in begun.nodes]
    try:
        with _counted_interrupts() as presses:
            threads = [in_background(partial(part.follow, begun)) for part in parts]
            while left := _not_done(*threads, *stops.futures):
                wait(left, timeout=POLL_S, return_when=FIRST_EXCEPTION)
                for thread in threads:
                    if thread.done():
                        thread.result()
                if presses and not work.cancelled.is_set():
                    work.note("stopping the containers; Ctrl-C again leaves them running")
                    work.cancelled.set()
                    stops.stop_all()
                if len(presses) > 1:
                    break
    finally:
        work.leave()
    if presses:
        _report_what_runs_on(work, parts, stops)
        raise KeyboardInterrupt


def _not_done(*futures: Future[Any]) -> list[Future[Any]]:
    return [future for future in futures if not future.done()]


class _Stops:
    """The containers that are watched, and the requests to end them: one per job, however many nodes it has."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._watched: dict[str, Handle] = {}
        self._asked: dict[Handle, Future[list[str]]] = {}
        self._all = False

    def watched(self, node: str, handle: Handle) -> None:
        """A container is watched from now on; where all are to end, it as well: it was on its way when Ctrl-C came."""
        with self._lock:
            self._watched[node] = handle
            if self._all:
                self._ask(handle)

    def ended(self, node: str) -> None:
        """The node's container is over, by the engine's word."""
        with self._lock:
            self._watched.pop(node, None)

    def stop_all(self) -> None:
        """Ask for the end of all that is watched, now and later."""
        with self._lock:
            self._all = True
            for handle in self._watched.values():
                self._ask(handle)

    @property
    def futures(self) -> list[Future[list[str]]]:
        """The requests: each gives the nodes on which the end could not be confirmed."""
        with self._lock:
            return list(self._asked.values())

    def left(self) -> tuple[set[str], list[str]]:
        """Nodes whose container is not known to have ended, and why jobs could not be stopped."""
        with self._lock:
            left, why = set(self._watched), []
            for handle, asked in self._asked.items():
                if not asked.done():
                    continue
                error = asked.exception()
                if error is None:
                    left |= set(asked.result())
                elif isinstance(error, ShoalError | OSError):
                    left |= set(handle.nodes)
                    why.append(brief(error))
                else:
                    raise error
            return left, why

    def _ask(self, handle: Handle) -> None:
        if handle not in self._asked:
            self._asked[handle] = in_background(partial(self._runner.stop, handle))


@dataclass(frozen=True, slots=True)
class _End:
    """What became of an execution."""

    outcome: Outcome
    message: str
    exit_code: int | None
    unseen: bool = False
    """Whether a container was begun and its end was not seen."""


@dataclass(slots=True)
class _Lines:
    """What a container has printed, as far as its silence and its waiting matter; written by the reading thread."""

    heard_s: float = field(default_factory=time.monotonic)
    progress: Progress = field(default_factory=Progress)


@dataclass(slots=True)
class _Part:
    """One node's part of the run; its own thread goes through it from start to end."""

    work: Work
    node: str
    reattempts: Reattempts
    stops: _Stops
    unseen: bool = False
    """Whether a container whose end was not seen may go on."""

    def follow(self, begun: Begun | None) -> None:
        """Watch, settle, release, then fetch or try again; until there is nothing more to do for the node."""
        while begun is not None:
            handle = begun.handle_of(self.node)
            done = self.node in begun.finished
            if handle and not done:
                outcome = self._attempt(handle)
                if outcome is None:
                    return
                done = outcome in HAS_MANIFEST
            if done:
                self.unseen = False
                self._fetch()
                return
            begun = self.reattempts.in_turn() if self.node in begun.waiting else self.reattempts.next()

    def _attempt(self, handle: Handle) -> Outcome | None:
        """Watch one attempt to its end, and record what became of it; None where the run was left meanwhile."""
        self.stops.watched(self.node, handle)
        lines = _Lines()
        execution = self._execution(handle)
        # Of one that is over already nothing is left to read.
        reader = None if execution.over else in_background(partial(self._read, handle, lines))
        execution = self._watch(handle, lines)
        earlier = self.unseen
        self.unseen = earlier or _may_go_on(execution)
        self.stops.ended(self.node)
        if reader:
            wait([reader], timeout=LAST_LINES_S)
            if reader.done():
                reader.result()
        end = self._settle(execution, lines.progress.waiting)
        self.unseen = earlier or end.unseen
        if not self.work.end(self.node, handle.attempt, end.outcome, end.message, end.exit_code):
            return None
        # Only now: the record knows what the container was the evidence of. And before the next attempt, which would
        # adopt a container that is still there, and lose it to this release.
        try:
            self.work.runner.release(handle, self.node)
        except (ShoalError, OSError) as error:
            self.work.note(f"its ended container could not be removed: {brief(error)}", self.node)
        return end.outcome

    def _execution(self, handle: Handle) -> Execution:
        return next(one for one in self.work.runner.executions(handle) if one.node == self.node)

    def _watch(self, handle: Handle, lines: _Lines) -> Execution:
        """The execution once it is over. Reports silence meanwhile, and ends what holds the run's lock for too long."""
        silence = _Silence()
        searched_s = time.monotonic()
        for _ in looks(POLL_S):
            execution = self._execution(handle)
            if execution.over:
                return execution
            waiting = lines.progress.waiting
            if execution.state is State.STARTING:
                lines.heard_s = time.monotonic()  # a container that is not there yet is not silent
            if text := silence.text(lines.heard_s, waiting):
                self.work.note(text, self.node)
            if waiting and time.monotonic() - searched_s >= OVERDUE_POLL_S:
                self._end_overdue()
                searched_s = time.monotonic()
        raise AssertionError("nothing cancels these looks")

    def _read(self, handle: Handle, lines: _Lines) -> None:
        """Report the container's lines as they come."""
        source = self.work.runner.logs(handle, self.node)
        while True:
            try:
                text = next(source, None)
            except (ShoalError, OSError) as error:
                self.work.note(f"its lines cannot be read any more, it goes on: {brief(error)}", self.node)
                return
            if text is None:
                return
            line = detector_lines.read(text)
            lines.heard_s = time.monotonic()
            lines.progress, _ = lines.progress.after(line)
            self.work.say(Event(Happening.LINE, line.text, self.node, line=line))

    def _settle(self, execution: Execution, waited: bool) -> _End:
        """What became of an execution that is over: the node's manifest says it, or else the engine and the node."""
        manifest: Manifest | None = None
        note = ""
        try:
            node = self.work.cluster.node(self.node)
            # A lost node was waited for already.
            patience_s = 0.0 if execution.state is State.LOST else results.PATIENCE_S
            found = results.node_manifest_in_time(self.work.cluster, node, self.work.record.run, patience_s=patience_s)
            manifest = found.manifest if found else None
        except (SshError, OSError) as error:
            return _End(Outcome.UNREACHABLE, _unasked(execution, error), execution.exit_code, _may_go_on(execution))
        except DamagedResultsError as error:
            return _End(Outcome.DAMAGED_RESULTS, error.in_one_line, execution.exit_code)
        except ShoalError as error:
            note = f"; {error.message}"
        if manifest is None and execution.state is State.TIMED_OUT and waited:
            # It never had its turn: more time of its own would not help it, and the same again will.
            ended = "it was ended" if self._end_overdue() else "it is not there any more"
            why = f"another container held the run's folder for the whole time limit; {ended}"
            return _End(Outcome.FAILED, why + note, execution.exit_code)
        known = self.work.runner.examine(execution) if manifest is None and is_open(execution) else execution
        outcome, message = outcome_of(known, manifest)
        unseen = outcome is Outcome.UNREACHABLE and _may_go_on(known)
        return _End(outcome, message + note, execution.exit_code, unseen)

    def _end_overdue(self) -> bool:
        """End containers of the run that are over its time limit, which the engine has lost sight of."""
        with self.work.lock:
            limit_s = parse(self.work.record.job, source="the run's job").timeout_s
        try:
            ages_s = orphans.end_overdue(
                self.work.cluster, self.work.cluster.node(self.node), self.work.record.run, limit_s=limit_s
            )
        except (ShoalError, OSError):
            return False  # it is looked for again, and who waits is ended by the limit as well
        for age_s in ages_s:
            self.work.note(
                f"ended a container that held the run's folder: it ran for {age_s} s, the limit is {limit_s} s",
                self.node,
            )
        return bool(ages_s)

    def _fetch(self) -> None:
        if not self.work.fetch:
            return
        run = self.work.record.run
        try:
            fetched = self.work.runner.fetch(run, self.node, runs.run_dir(run) / self.node, self.work.record.bring)
        except DamagedResultsError as error:
            self.work.damaged(self.node, error.in_one_line)
        except (ShoalError, OSError) as error:
            what = error.message if isinstance(error, ShoalError) else brief(error)
            self.work.note(f"results not brought home: {what}", self.node)
        else:
            self.work.home(self.node, fetched)


@dataclass(slots=True)
class _Silence:
    """When the silence of a container is to be reported: after SILENCE_S, and each time it has doubled."""

    next_s: float = field(default_factory=lambda: SILENCE_S)

    def text(self, heard_s: float, waiting: bool) -> str | None:
        """The words, when it is time for them; `heard_s` is when the last line came."""
        silent_s = time.monotonic() - heard_s
        if silent_s < SILENCE_S:
            self.next_s = SILENCE_S
        if silent_s < self.next_s:
            return None
        self.next_s *= 2
        if waiting:
            return f"has waited for {silent_s:.0f} s for another container that holds the run's folder"
        return f"no line for {silent_s:.0f} s; its container runs (short of memory, or a slow disk, looks like this)"


def _may_go_on(execution: Execution) -> bool:
    """Whether a container was begun and only the engine's word stands for its end: no exit code was seen."""
    by_word = execution.state in (State.LOST, State.STOPPED, State.TIMED_OUT)
    return by_word and execution.exit_code is None and bool(execution.id)


def _unasked(execution: Execution, error: SshError | OSError) -> str:
    """Why a node could not be asked how far it is, and what the engine reported, which has only its own word for it."""
    why, engine = brief(error), execution.message
    if not engine or execution.state is State.STOPPED:
        return why
    return engine if why in engine else f"{why}; {engine}"


def _report_what_runs_on(work: Work, parts: list[_Part], stops: _Stops) -> None:
    left, why = stops.left()
    for text in why:
        work.note(f"could not be stopped: {text}")
    left |= {part.node for part in parts if part.unseen}
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
