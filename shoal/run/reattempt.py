"""Automatic attempts: a node without a finished manifest gets the run again, once it can be given a job."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.cluster.document import Engine
from shoal.errors import ShoalError
from shoal.jobs.spec import parse
from shoal.results.record import Outcome
from shoal.run import preflight
from shoal.run.outcomes import worth_another_try
from shoal.run.work import Begun, Give, Work
from shoal.ssh.failures import brief
from shoal.waiting import looks

ATTEMPT_PAUSE_S = 5.0
"""Pause before the second automatic attempt; twice that before the third, and so on ..."""
MAX_PAUSE_S = 60.0
"""... up to this."""
BACK_TIMEOUT_S = 600.0
"""How long an automatic attempt waits for a node that is away: a reboot, a cut line, a restarted orchestrator. A node
that is not back by then gets that one attempt, which records why, and no further ones."""
BACK_POLL_S = 3.0
DEFAULT_ATTEMPTS: dict[Engine, int] = {"bacalhau": 5, "ssh": 1}
"""The engine loses work without a fault of the work; over ssh a failure is a failure."""


@dataclass(slots=True)
class Reattempts:
    """The further attempts of one node; its methods wait, in the node's own thread."""

    work: Work
    node: str
    give: Give
    attempts: int | None = None
    """How often the node is given the run, the first time included; the engine's own number where it is None."""
    given: int = 1
    over: bool = False
    """Whether the last attempt was the last: it was waited for in vain, or another would be refused as well."""

    def next(self) -> Begun | None:
        """The next attempt, after a pause and once the node is back; None where there is to be none."""
        while self._may_fare_better():
            self.given += 1
            pause_s = min(ATTEMPT_PAUSE_S * 2 ** (self.given - 2), MAX_PAUSE_S)
            self.work.note(f"again in {pause_s:.0f} s", self.node)
            # A backoff: what made the node fail is given time to pass.
            self.work.cancelled.wait(pause_s)
            self._wait_until_back()
            if self.work.cancelled.is_set():
                return None
            if begun := self._begin():
                return begun
        return None

    def in_turn(self) -> Begun | None:
        """The attempt that waits for room on the node; waiting uses none up, however long it is."""
        with self.work.lock:
            job = parse(self.work.record.job, source="the run's job")
        try:
            for look in looks(BACK_POLL_S, cancelled=self.work.cancelled):
                if not look.first and self.node not in self.work.runner.full(job, [self.node]):
                    break
        except (ShoalError, OSError) as error:
            self._not_given(error)
            return self.next()
        if self.work.cancelled.is_set():
            return None
        return self._begin() or self.next()

    def _may_fare_better(self) -> bool:
        """Whether the node is to be given the run again."""
        entry = self.work.record.nodes[self.node]
        most = self.attempts or DEFAULT_ATTEMPTS.get(self.work.record.engine, 1)
        if self.over or self.given >= most or self.work.cancelled.is_set():
            return False
        return not entry.attempts or worth_another_try(entry.outcome, entry.attempts[-1].exit_code)

    def _begin(self) -> Begun | None:
        try:
            return self.give([self.node])
        except (ShoalError, OSError) as error:
            self._not_given(error)
            return None

    def _not_given(self, error: ShoalError | OSError) -> None:
        """Record why an attempt was not begun; where that does not pass by itself, no other is."""
        why = f"could not be given the run again: {error if isinstance(error, ShoalError) else brief(error)}"
        entry = self.work.record.nodes[self.node]
        if entry.outcome is Outcome.PENDING:
            number = entry.attempts[-1].number if entry.attempts else self.work.next_attempt()
            self.work.end(self.node, number, Outcome.UNREACHABLE, why)
        else:
            self.work.note(why, self.node)
        self.over = self.over or not (isinstance(error, OSError) or error.transient)

    def _wait_until_back(self) -> None:
        """Wait until the node can be given a job again, for at most BACK_TIMEOUT_S, or is seen to be drained.

        So a short absence does not use attempts up, and a long one is not waited for again before each of them.
        """
        for look in looks(BACK_POLL_S, timeout_s=BACK_TIMEOUT_S, cancelled=self.work.cancelled):
            why = self.work.runner.away([self.node]).get(self.node)
            if why is None:
                if not look.first:
                    self.work.note("is back", self.node)
                return
            if preflight.is_drained(self.work.cluster, self.work.cluster.node(self.node)):
                return  # the attempt itself records it
            if look.first:
                self.work.note(f"waiting for it: {why}", self.node)
            self.over = look.last
