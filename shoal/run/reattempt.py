"""Automatic attempts: nodes without a finished manifest get the run again, once they can be given a job."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from shoal.cluster.document import Engine
from shoal.jobs.spec import parse
from shoal.run import preflight
from shoal.run.background import in_background
from shoal.run.outcomes import worth_another_try
from shoal.run.work import Begun, Work

ATTEMPT_PAUSE_S = 5.0
"""Pause before the second automatic attempt; twice that before the third, and so on ..."""
MAX_PAUSE_S = 60.0
"""... up to this."""
BACK_TIMEOUT_S = 600.0
"""How long an automatic attempt waits for a node that is away: a reboot, a cut line, a restarted orchestrator. A node
that is not back by then gets that one attempt, which records why, and no further ones."""
BACK_POLL_S = 3.0
DEFAULT_ATTEMPTS: dict[Engine, int] = {"bacalhau": 5, "ssh": 1}
"""The engine loses work that nobody did wrong; over ssh a failure is a failure."""


@dataclass(slots=True)
class Healer:
    """Further attempts, node by node: each as soon as the node's own share is over, whatever the others do."""

    work: Work
    again: Callable[[Sequence[str]], Begun]
    """Gives nodes the run."""
    attempts: int
    """How often a node is given the run, the first time included."""
    given: Counter[str] = field(default_factory=Counter)
    stayed_away: set[str] = field(default_factory=set)
    """Nodes that were waited for in vain; the attempt that followed says why, and is their last."""

    def __call__(self, node: str) -> Future[Begun] | None:
        """The node's next attempt, begun in the background; None where it may not fare better, or had all of them."""
        entry = self.work.record.nodes[node]
        if node in self.stayed_away or not worth_another_try(entry.outcome, entry.attempts[-1].exit_code):
            return None
        self.given[node] += 1
        if self.given[node] >= self.attempts:
            return None
        pause_s = min(ATTEMPT_PAUSE_S * 2 ** (self.given[node] - 1), MAX_PAUSE_S)
        self.work.note(f"again in {pause_s:.0f} s", node)
        return in_background(partial(self._once_back, node, pause_s))

    def in_turn(self, node: str) -> Future[Begun]:
        """The attempt that waits for room on the node, in the background; waiting uses none up, however long it is."""
        return in_background(partial(self._once_there_is_room, node))

    def _once_there_is_room(self, node: str) -> Begun:
        with self.work.lock:
            job = parse(self.work.record.job, source="the run's job")
        while not self.work.cancelled.wait(BACK_POLL_S):
            if node not in self.work.runner.full(job, [node]):
                return self.again([node])
        return Begun()

    def _once_back(self, node: str, pause_s: float) -> Begun:
        # A backoff: what made the node fail is given time to pass.
        if not self.work.cancelled.wait(pause_s):
            self._wait_until_back(node)
        return Begun() if self.work.cancelled.is_set() else self.again([node])

    def _wait_until_back(self, node: str) -> None:
        """Wait until the node can be given a job again, for at most BACK_TIMEOUT_S, or is seen to be drained.

        So a short absence does not use attempts up, and a long one is not waited for again before each of them.
        """
        deadline = time.monotonic() + BACK_TIMEOUT_S
        told = False
        while why := self.work.runner.away([node]).get(node):
            if preflight.is_drained(self.work.cluster, self.work.cluster.node(node)):
                return  # the attempt itself tells
            if not told:
                self.work.note(f"waiting for it: {why}", node)
            told = True
            if time.monotonic() > deadline:
                self.stayed_away.add(node)
                return
            if self.work.cancelled.wait(BACK_POLL_S):
                return
        if told:
            self.work.note("is back", node)


def healer(work: Work, attempts: int | None, again: Callable[[Sequence[str]], Begun]) -> Healer:
    """What gives the nodes of `work` further attempts; their number is the engine's own where it is None."""
    return Healer(work, again, attempts or DEFAULT_ATTEMPTS.get(work.record.engine, 1))
