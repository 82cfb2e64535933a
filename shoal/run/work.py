"""What following a run needs to know, and the events that it reports."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from shoal.cluster.document import Cluster
from shoal.engines.protocol import Handle, Runner
from shoal.results import record as runs
from shoal.results.record import Attempt, Fetched, Outcome, RunRecord


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


Tell = Callable[[Event], None]


@dataclass(slots=True)
class Work:
    """A run in hand."""

    cluster: Cluster
    runner: Runner
    record: RunRecord
    tell: Tell
    fetch: bool = True
    lock: threading.RLock = field(default_factory=threading.RLock)
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set once nothing more is to be started."""
    reserved: int = 0

    def say(self, event: Event) -> None:
        """Tell an event; one at a time."""
        with self.lock:
            self.tell(event)

    def note(self, text: str, node: str = "") -> None:
        """Tell something in passing."""
        self.say(Event(Happening.NOTE, text, node))

    def next_attempt(self) -> int:
        """A number that no attempt of this run has, on any node: an attempt's job is named after it."""
        with self.lock:
            taken = (entry.number for node in self.record.nodes.values() for entry in node.attempts)
            self.reserved = max(self.reserved, max(taken, default=0)) + 1
            return self.reserved

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

    def end(self, node: str, attempt: int, outcome: Outcome, message: str, exit_code: int | None = None) -> None:
        """Record what became of an attempt, save, and tell."""
        with self.lock:
            found = self._attempt(node, attempt)
            found.ended_at, found.outcome = datetime.now(UTC), outcome
            found.message, found.exit_code = message, exit_code
            self.record.nodes[node].outcome = outcome
            runs.save(self.record)
            self.tell(Event(Happening.ENDED, message, node, outcome))

    def damaged(self, node: str, message: str) -> None:
        """Record that what a node sent cannot be taken for its results, save, and tell; its last attempt ended so."""
        attempts = self.record.nodes[node].attempts
        last = attempts[-1] if attempts else None
        self.end(node, last.number if last else 1, Outcome.DAMAGED_RESULTS, message, last.exit_code if last else None)

    def home(self, node: str, fetched: Fetched) -> None:
        """Record that a node's results are home, save, and tell."""
        with self.lock:
            self.record.nodes[node].fetched = fetched
            runs.save(self.record)
            text = f"{fetched.files} files, {fetched.size_bytes / 1e6:.1f} MB, checked"
            self.tell(Event(Happening.FETCHED, text, node))

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


class Heal(Protocol):
    """Begins what a node is to be given later."""

    def __call__(self, node: str) -> Future[Begun] | None:
        """The node's next attempt, in the background; None where there is to be none."""
        ...

    def in_turn(self, node: str) -> Future[Begun]:
        """The attempt that waits for room on the node, in the background."""
        ...
