"""A run in hand: its record, kept true at every moment, and the events that it reports."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from shoal.cluster.document import Cluster
from shoal.engines.protocol import Handle, Runner
from shoal.results import record as runs
from shoal.results.record import Attempt, Fetched, Outcome, RunRecord
from shoal.run.detector_lines import Line


class Happening(StrEnum):
    """What an event is about."""

    STARTED = "started"
    LINE = "line"
    ENDED = "ended"
    FETCHED = "fetched"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `node` is empty where it is about the run."""

    kind: Happening
    text: str
    node: str = ""
    outcome: Outcome | None = None
    line: Line | None = None
    """With LINE: what was read; `text` is the same for people."""


Tell = Callable[[Event], None]


@dataclass(slots=True)
class Work:
    """A run in hand, shared by the threads of its nodes."""

    cluster: Cluster
    runner: Runner
    record: RunRecord
    tell: Tell
    fetch: bool = True
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held while the record is changed or an event is reported."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set once nothing more is to be started."""
    _reserved: int = 0
    _alone: int | None = None

    def say(self, event: Event) -> None:
        """Report an event; one at a time."""
        with self.lock:
            if self._is_with_us():
                self.tell(event)

    def note(self, text: str, node: str = "") -> None:
        """Report something in passing."""
        self.say(Event(Happening.NOTE, text, node))

    def leave(self) -> None:
        """From here on only the calling thread reports and records, and nothing more is begun: others may be left
        behind in mid-work.
        """
        self.cancelled.set()
        with self.lock:
            self._alone = threading.get_ident()

    def next_attempt(self) -> int:
        """A number that no attempt of this run has, on any node: an attempt's job is named after it."""
        with self.lock:
            taken = (entry.number for node in self.record.nodes.values() for entry in node.attempts)
            self._reserved = max(self._reserved, max(taken, default=0)) + 1
            return self._reserved

    def begin(self, nodes: Sequence[str], attempt: int, execution: str, *, image: str) -> None:
        """Record that an attempt is about to be started, and save: who takes the run up then knows of it.

        `image` goes on record where it is not the run's.
        """
        with self.lock:
            for node in nodes:
                found = self._attempt(node, attempt)
                found.execution, found.image = execution, image if image != self.record.image.reference else None
                self.record.nodes[node].outcome = Outcome.PENDING
            runs.save(self.record)

    def end(self, node: str, attempt: int, outcome: Outcome, message: str, exit_code: int | None = None) -> bool:
        """Record what became of an attempt, save, and report it.

        False, and nothing is recorded, where the run was left: whoever takes it up again has to find all as it is.
        """
        with self.lock:
            if not self._is_with_us():
                return False
            found = self._attempt(node, attempt)
            found.ended_at, found.outcome = datetime.now(UTC), outcome
            found.message, found.exit_code = message, exit_code
            self.record.nodes[node].outcome = outcome
            runs.save(self.record)
            self.tell(Event(Happening.ENDED, message, node, outcome))
            return True

    def damaged(self, node: str, message: str) -> None:
        """Record that what a node sent cannot be taken for its results, save, and tell; its last attempt ended so."""
        attempts = self.record.nodes[node].attempts
        last = attempts[-1] if attempts else None
        self.end(node, last.number if last else 1, Outcome.DAMAGED_RESULTS, message, last.exit_code if last else None)

    def home(self, node: str, fetched: Fetched) -> None:
        """Record that a node's results are home, save, and report it."""
        with self.lock:
            if not self._is_with_us():
                return
            self.record.nodes[node].fetched = fetched
            runs.save(self.record)
            text = f"{fetched.files} files, {fetched.size_bytes / 1e6:.1f} MB, checked"
            self.tell(Event(Happening.FETCHED, text, node))

    def _is_with_us(self) -> bool:
        return self._alone in (None, threading.get_ident())

    def _attempt(self, node: str, number: int) -> Attempt:
        """The record of an attempt, made where it is not there."""
        entry = self.record.nodes[node]
        for found in entry.attempts:
            if found.number == number:
                return found
        entry.attempts.append(Attempt(number=number, started_at=datetime.now(UTC)))
        return entry.attempts[-1]


@dataclass(frozen=True, slots=True)
class Begun:
    """What came of giving nodes the run: every one of them is in exactly one of these."""

    handles: tuple[Handle, ...] = ()
    finished: tuple[str, ...] = ()
    """Nodes that turned out to be done; their results are still to be fetched."""
    ended: tuple[str, ...] = ()
    """Nodes that were not given it, the reason being on record."""
    waiting: tuple[str, ...] = ()
    """Nodes whose turn has not come: other work has their room. No attempt has begun."""

    @property
    def nodes(self) -> list[str]:
        """All of them."""
        started = [node for handle in self.handles for node in handle.nodes]
        return [*started, *self.finished, *self.ended, *self.waiting]

    def handle_of(self, node: str) -> Handle | None:
        """What was started on the node, or is there already."""
        return next((handle for handle in self.handles if node in handle.nodes), None)


Give = Callable[[Sequence[str]], Begun]
"""Gives nodes the run: what is there is adopted, what is done is found, the rest is submitted."""
