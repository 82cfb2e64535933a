"""Automatic attempts: nodes without a finished manifest get the run again, once they can be given a job."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from shoal.cluster import Engine
from shoal.following import Work
from shoal.outcomes import worth_another_try

ATTEMPT_PAUSE_S = 5.0
"""Pause before the second automatic attempt; twice that before the third, and so on ..."""
MAX_PAUSE_S = 60.0
"""... up to this."""
BACK_TIMEOUT_S = 600.0
"""How long an automatic attempt waits for a node that is away: a reboot, a cut line, a restarted orchestrator."""
BACK_POLL_S = 3.0
DEFAULT_ATTEMPTS: dict[Engine, int] = {"bacalhau": 5, "ssh": 1}
"""The engine loses work that nobody did wrong; over ssh a failure is a failure."""


def try_again(work: Work, attempts: int | None, again: Callable[[Sequence[str]], None]) -> None:
    """Automatic further rounds for nodes that may fare better, each begun by `again`.

    `attempts` counts the first round, and is the engine's own number where it is None.

    Before each the nodes that are away get time to come back, so that a short absence does not use attempts up.
    """
    for number in range(1, attempts or DEFAULT_ATTEMPTS.get(work.record.engine, 1)):
        names = [
            name
            for name in work.record.missing
            if worth_another_try(work.record.nodes[name].outcome, work.record.nodes[name].attempts[-1].exit_code)
        ]
        if not names:
            return
        pause_s = min(ATTEMPT_PAUSE_S * 2 ** (number - 1), MAX_PAUSE_S)
        work.note(f"again in {pause_s:.0f} s for: {', '.join(names)}")
        time.sleep(pause_s)  # a backoff: what made the node fail is given time to pass
        _wait_until_back(work, names)
        again(names)


def _wait_until_back(work: Work, names: Sequence[str]) -> None:
    """Wait until every one of `names` can be given a job again, for at most BACK_TIMEOUT_S."""
    deadline = time.monotonic() + BACK_TIMEOUT_S
    told: dict[str, str] = {}
    while away := work.runner.away(names):
        for name in [name for name in away if name not in told]:
            work.note(f"waiting for it: {away[name]}", name)
        told = away
        if time.monotonic() > deadline:
            return
        time.sleep(BACK_POLL_S)  # until all are back, or the deadline
    for name in told:
        work.note("is back", name)
