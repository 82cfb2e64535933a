"""The published comparison and the walk-through's run, reckoned again from the price table.

Source of volumes and figures: "Edge-Based Machine Learning Inference" (Bacalhau / Expanso use case, 2023-24).
"""

from __future__ import annotations

from dataclasses import dataclass

from shoal.cost.compare import COLUMNS, SECONDS_PER_HOUR, Comparison, Volumes, priced, unconfirmed
from shoal.cost.prices import Prices

STORED_GB = 10_000_000
IMAGES = 100_000_000
OPERATIONS_BEFORE, OPERATIONS_EDGE = 150_000_000, 100_000_000
KEPT = 0.1
VENDORS = ("aws", "google", "azure")

RUN_FRAMES_PER_S = 60
RUN_NODES = 2
RUN_NODE_FRAMES_PER_S = 10
RUN_NODE_USD_PER_HOUR = 0.11
"""e2-standard-8, spot."""
RUN_SAID_USD = 1.00


@dataclass(frozen=True, slots=True)
class RunCost:
    """One hour of footage, worked through by a number of equal nodes."""

    hours: float
    usd: float


def comparison(vendor: str, prices: Prices) -> Comparison:
    """The published table of a vendor. Its edge column takes a tenth of the storage's cost, not the cost of a tenth.

    The published comparison keeps the vendor's AI service at the edge. The third column is ours: the same images on own
    nodes, at the walk-through's speed and price.
    """
    before = priced(Volumes(STORED_GB, OPERATIONS_BEFORE, IMAGES), vendor, prices)
    edge = priced(Volumes(0, OPERATIONS_EDGE, IMAGES), vendor, prices) | {"storage": before["storage"] * KEPT}
    own = edge | {"AI service": 0.0, "own nodes": run_cost(IMAGES / SECONDS_PER_HOUR, nodes=1).usd}
    usd = {COLUMNS[0]: before, COLUMNS[1]: edge, COLUMNS[2]: own}
    return Comparison(vendor, prices.vendors[vendor].name, 1, usd, 0, unconfirmed(vendor, prices))


def run_cost(
    frames_per_s: float = RUN_FRAMES_PER_S,
    *,
    nodes: int = RUN_NODES,
    node_frames_per_s: float = RUN_NODE_FRAMES_PER_S,
    node_usd_per_hour: float = RUN_NODE_USD_PER_HOUR,
) -> RunCost:
    """What an hour of footage takes and costs: its frames by what the nodes look at together."""
    hours = frames_per_s / (nodes * node_frames_per_s)
    return RunCost(hours, hours * nodes * node_usd_per_hour)
