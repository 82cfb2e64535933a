"""Two nodes without internet and without a requester that is up, one of them without power for a while: they watch on,
and what they found arrives after, once, the weightiest first.

As long as a spell of `watched_lab`; figures are printed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from watched_lab import NAME, SPELL_S, Watched, brought_up, eventually

from shoal.cluster.document import Node
from shoal.engines.bacalhau.connect import client_for
from shoal.lab import cut as outages
from shoal.lab.status import container_of
from shoal.telling import to_stderr
from shoal.waiting import until
from shoal.watch.account import Account

pytestmark = [pytest.mark.lab, pytest.mark.timeout(7200)]

POWER_OFF_S = 10.0
ARRIVE_S = 1200.0
"""The outbox leaves a store alone that failed for long, up to a quarter of an hour (docs/outbox.md)."""
Part = tuple[dict[str, Any], dict[str, Any]]
"""An event of the outbox and one of its parts."""


@pytest.fixture(scope="module")
def watched(lab_environment: None) -> Iterator[Watched]:
    yield from brought_up()


@dataclass(frozen=True)
class Outage:
    """What happened, in seconds since 1970, and how it was just before its end."""

    began_s: float
    cut_s: float
    """When all was gone."""
    power_s: float
    """When the power was back."""
    mended_s: float
    accounts: dict[str, Account]
    waiting: dict[str, list[Part]]
    """What waited in each node's outbox."""


def outage(watched: Watched, unlucky: Node) -> Outage:
    """Take the way to the store from all nodes and stop the requester, and cut the power of one for a while."""
    compute, requester = watched.cluster.compute, container_of(NAME, watched.cluster.requester.name)
    began_s = time.time()
    try:
        for node in compute:
            outages.cut(container_of(NAME, node.name), node.name, outages.rules(watched.cluster, node.name, ["wan"]))
        requester.stop(timeout=30)
        cut_s = time.time()
        # What was in hand may have arrived when the line went.
        shipped = watched.put_order()
        let_pass(SPELL_S / 3)
        container_of(NAME, unlucky.name).kill()
        let_pass(POWER_OFF_S)
        container_of(NAME, unlucky.name).start()
        power_s = time.time()
        eventually(lambda: goes_on(watched, power_s), "every camera is watched after the power cut", SPELL_S + 300)
        let_pass(cut_s + SPELL_S - time.time())
        requester.reload()
        assert requester.status == "exited"
        accounts = watched.accounts()
        # None of it can go now, and what comes in later takes its place among it.
        waiting = {node.name: waiting_parts(watched.outbox(node)) for node in compute}
        assert watched.put_order() == shipped
    finally:
        requester.start()
        for node in compute:
            outages.mend(container_of(NAME, node.name), node.name)
    return Outage(began_s, cut_s, power_s, time.time(), accounts, waiting)


def let_pass(seconds: float) -> None:
    """The outage is a matter of time, not of a condition."""
    until(lambda: None, every_s=max(0.0, seconds), timeout_s=max(0.0, seconds))


def test_an_outage_of_everything_with_a_power_cut_in_it(watched: Watched) -> None:
    watched.arrived_once(watched.caught_up(), ARRIVE_S)
    compute = watched.cluster.compute
    unlucky = compute[0]
    seen = outage(watched, unlucky)
    to_stderr(f"everything was gone for {seen.mended_s - seen.cut_s:.0f} s")
    for camera, one in seen.accounts.items():
        to_stderr(f"{camera}: {in_outage(one, seen)}")
        assert [line for line in one.looked if seen.cut_s < line.closed_s < seen.power_s], f"{camera} was not watched"

    keys = {part["key"] for parts in seen.waiting.values() for _, part in parts}
    eventually(lambda: keys <= set(watched.put_order()), "what waited arrives", ARRIVE_S, 5.0)
    to_stderr(f"what waited was there {time.time() - seen.mended_s:.0f} s after the line was back")
    order = watched.put_order()
    for name, parts in seen.waiting.items():
        kinds = [f"{event['severity']} {part['kind']}" for event, part in parts]
        to_stderr(f"{name}: there waited {', '.join(f'{kinds.count(one)} {one}s' for one in sorted(set(kinds)))}")
        assert {"alert event", "record event"} <= set(kinds), f"{name} has nothing to put in order"
        wanted = [part["key"] for _, part in sorted_by_weight(parts)]
        assert [key for key in order if key in {*wanted}] == wanted

    accounts = watched.caught_up()
    for camera, one in accounts.items():
        end_s = max(film.end for film in one.films)
        gaps = [(gap.reason, round(gap.end - gap.start, 1)) for gap in one.gaps if gap.end > seen.began_s]
        to_stderr(f"{camera}: without film {one.without_film_s(seen.began_s, end_s):.1f} s, noted {gaps}")
        assert one.unaccounted_s(seen.began_s, end_s) == 0
        assert one.looked_at_twice() == []
        # The nodes of a lab share this machine's kernel, whose boot id says that it was not rebooted.
        assert [reason for reason, _ in gaps] == (["killed"] if one.node == unlucky.name else [])
    to_stderr(f"{watched.arrived_once(accounts, ARRIVE_S)} events, each there once")
    if watched.engine == "bacalhau":
        with client_for(watched.cluster) as client:
            eventually(
                lambda: sum(one.connected for one in client.nodes() if one.computes) == len(compute),
                "the requester's orchestrator hears every node again",
                300,
            )


def goes_on(watched: Watched, since_s: float) -> bool:
    """Whether every camera has a file that was recorded and looked at since."""
    return all(
        any(film.start > since_s for film in one.films) and any(line.closed_s > since_s for line in one.looked)
        for one in watched.accounts().values()
    )


def in_outage(one: Account, seen: Outage) -> str:
    looked = [line for line in one.looked if line.at_s > seen.cut_s]
    after = [line for line in looked if line.closed_s > seen.power_s]
    lags = sorted(line.lag_s for line in looked)
    return (
        f"{len(looked)} files looked at in the outage, {len(after)} of them closed after the power cut, lag at most "
        f"{lags[-1]:.1f} s, {sum(len(line.events) for line in looked)} events"
    )


def waiting_parts(events: list[dict[str, Any]]) -> list[Part]:
    return [(event, part) for event in events for part in event["parts"] if part["state"] == "waiting"]


def sorted_by_weight(parts: list[Part]) -> list[Part]:
    """As docs/outbox.md has it: documents before clips, alerts before records, the newest first."""
    parts = sorted(parts, key=lambda one: one[0]["event"])
    parts.sort(key=lambda one: (one[0]["start_utc"], one[0]["start_s"]), reverse=True)
    return sorted(parts, key=lambda one: (one[1]["kind"] == "clip", one[0]["severity"] != "alert"))
