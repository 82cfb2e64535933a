"""What a run cost, from its nodes' prices and times: altogether, per hour of footage, per thousand frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shoal.cost.prices import Machines, Prices, machine_usd_per_hour

SECONDS_PER_HOUR = 3600
WALK_THROUGH_MACHINE = "e2-standard-8"
"""What the walk-through runs on, as spot machines."""
GIVE_A_PRICE = "give each node `price_usd_per_hour` in the cluster document, or type `shoal cost run RUN --price 0.11`"


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One node of a run."""

    name: str
    machine_time_s: float | None
    """Length of all its ended attempts; None where none has ended."""
    usd_per_hour: float | None


@dataclass(frozen=True, slots=True)
class RunCost:
    """None where no price or no time is known, or where there is nothing to divide by."""

    usd: float | None
    usd_per_footage_hour: float | None
    usd_per_thousand_frames: float | None
    usd_per_event: float | None
    whole: bool
    """Every node has a price and a time: the sum is no lower bound."""
    estimate_usd: float | None
    """The same machine time on the walk-through's machines."""
    estimate_usd_per_hour: float | None


def of_run(nodes: Sequence[NodeTime], *, footage_s: float, frames: int, events: int | None, prices: Prices) -> RunCost:
    """The cost of machine time. Idle time, the requester and traffic are not in it."""
    known = [
        node.machine_time_s / SECONDS_PER_HOUR * node.usd_per_hour
        for node in nodes
        if node.machine_time_s is not None and node.usd_per_hour is not None
    ]
    usd = sum(known) if known else None
    price, _ = machine_usd_per_hour(Machines("node", 1, WALK_THROUGH_MACHINE, spot=True), prices, spot=True)
    times = [node.machine_time_s for node in nodes if node.machine_time_s is not None]
    return RunCost(
        usd=usd,
        usd_per_footage_hour=_per(usd, footage_s / SECONDS_PER_HOUR),
        usd_per_thousand_frames=_per(usd, frames / 1000),
        usd_per_event=_per(usd, events or 0),
        whole=bool(known) and len(known) == len(nodes),
        estimate_usd=sum(times) / SECONDS_PER_HOUR * price if times and price is not None else None,
        estimate_usd_per_hour=price,
    )


def _per(usd: float | None, number: float) -> float | None:
    return None if usd is None or not number else usd / number
