"""The cost line that every preview shows, and the ceiling that stops it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

import pulumi
from pydantic import Field

from shoal.cost import prices as cost
from shoal.errors import Fault
from stacks.common.settings import Settings

Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class CostSettings(Settings):
    """Settings about cost that both stacks have."""

    cost_ceiling_usd_per_day: Usd | None = None
    """The preview fails where the cluster would cost more, or where a price is not known."""
    prices_file: Path | None = None
    """Another price table, in the form of shoal/prices.toml."""
    video_frames_per_s: Rate = 60.0
    """Frames per second of the footage, for the cost of an hour of it."""
    node_frames_per_s: Rate = 10.0
    """Frames that one compute node works through in a second; measure it with a run."""

    @cached_property
    def prices(self) -> cost.Prices:
        """The price table that counts here. Raises UsageError where it is faulty."""
        return cost.load_prices(self.prices_file or cost.TABLE)


def cost_of(
    machines: Sequence[cost.Machines], settings: CostSettings, prices: cost.Prices, *, region: str | None = None
) -> tuple[cost.Estimate, list[Fault]]:
    """What the machines cost, and what stands against the ceiling."""
    footage = cost.Footage(settings.video_frames_per_s, settings.node_frames_per_s)
    estimate = cost.estimate(machines, prices, footage=footage, region=region)
    return estimate, cost.ceiling_faults(estimate, settings.cost_ceiling_usd_per_day, where="costCeilingUsdPerDay")


def show(estimate: cost.Estimate) -> None:
    """Print the line with the update's own messages."""
    pulumi.log.info(estimate.line())
