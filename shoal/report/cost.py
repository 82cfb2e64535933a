"""A run's cost as the report and `shoal cost run` show it."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.cost.prices import Prices
from shoal.cost.run import GIVE_A_PRICE, WALK_THROUGH_MACHINE, NodeTime, RunCost, of_run
from shoal.report.model import Node, Run


def cost_of(run: Run, prices: Prices, *, usd_per_hour: float | None = None) -> RunCost:
    """The cost of `run`; `usd_per_hour` stands in where a node has no recorded price."""
    return cost_of_nodes(run.nodes, run.totals.footage_s, run.totals.frames, prices, usd_per_hour=usd_per_hour)


def cost_of_nodes(
    nodes: Sequence[Node], footage_s: float, frames: int, prices: Prices, *, usd_per_hour: float | None = None
) -> RunCost:
    """The same before there is a whole view."""
    times = [
        NodeTime(
            node.name,
            node.machine_time_s,
            usd_per_hour if node.price_usd_per_hour is None else node.price_usd_per_hour,
        )
        for node in nodes
    ]
    return of_run(times, footage_s=footage_s, frames=frames, events=None, prices=prices)


def cost_lines(cost: RunCost) -> list[str]:
    """What is known, line by line; where no price is, the line that gives one."""
    lines = []
    if cost.usd is not None:
        at_least = "" if cost.whole else "at least "
        lines.append(f"cost: {at_least}{cost.usd:.4f} USD of machine time")
        if cost.usd_per_footage_hour is not None:
            lines.append(f"per hour of footage: {cost.usd_per_footage_hour:.4f} USD")
        if cost.usd_per_thousand_frames is not None:
            lines.append(f"per 1,000 frames: {cost.usd_per_thousand_frames:.6f} USD")
        if cost.usd_per_event is not None:
            lines.append(f"per event: {cost.usd_per_event:.4f} USD")
    if not cost.whole:
        lines.append(f"{'a price is unknown' if lines else 'cost: unknown'}; {GIVE_A_PRICE}")
    if cost.estimate_usd is not None:
        lines.append(
            f"estimate: the same machine time on the walk-through's machines ({WALK_THROUGH_MACHINE}, spot, "
            f"{cost.estimate_usd_per_hour:.4f} USD per hour) would cost {cost.estimate_usd:.4f} USD, "
            "if they were as fast as these"
        )
    return lines
