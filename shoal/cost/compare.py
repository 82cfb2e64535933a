"""What cameras cost a month: everything sent to a vendor, or only what matters, with inference bought or one's own.

Three columns. `central` sends and keeps all footage and has the vendor's AI service look at it. `edge, vendor's AI`
keeps what matters only, and still pays the vendor's AI service for each image, as the published comparison has it.
`edge, own nodes` has the site's own machines look instead: no AI service, but machines and electricity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal.cluster.document import field_faults
from shoal.cost.prices import Machines, Prices, machine_usd_per_hour
from shoal.errors import Fault, UsageError

HOURS_PER_MONTH = 730
SECONDS_PER_HOUR = 3600
BITS_PER_GB = 8e9
Column = Literal["central", "edge, vendor's AI", "edge, own nodes"]
COLUMNS: tuple[Column, ...] = get_args(Column)
Row = Literal["storage", "access", "AI service", "network out", "own nodes", "electricity"]
ROWS: tuple[Row, ...] = get_args(Row)

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Usd = Annotated[float, Field(ge=0, allow_inf_nan=False, le=1_000_000)]


class Figures(BaseModel):
    """What the user says of the site. All of it is checked, and every fault is reported at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cameras: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    width: Annotated[int, Field(ge=16, le=16384)] = 3840
    height: Annotated[int, Field(ge=16, le=16384)] = 2160
    frames_per_s: Annotated[float, Field(gt=0, le=1000)] = 60.0
    gb_per_hour: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Of one camera. Without it, from `mbit_per_s`."""
    mbit_per_s: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Of one camera."""
    hours_per_day: Annotated[float, Field(gt=0, le=24)] = 24.0
    months: Annotated[int, Field(ge=1, le=120)] = 1
    keep_months: Annotated[float, Field(gt=0, le=120)] = 1.0
    """How long footage is kept: what is stored at a time is a month's footage times this."""
    matters: Share = 0.1
    """Share of the footage that is worth keeping."""
    looked_at: Share = 1.0
    """Share of the frames that are looked at."""
    segment_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """Length of a stored object; each is one operation."""
    viewed: Share = 0.0
    """Share of the stored footage that people fetch from the vendor each month."""
    uplink_usd_per_gb: Usd = 0.0
    """What the site's own line costs."""
    node_frames_per_s: Annotated[float, Field(gt=0, le=1_000_000)] = 10.0
    """Frames that one node looks at in a second; measure it with a run."""
    node_usd_per_hour: Usd | None = None
    machine_type: str | None = None
    spot: bool = True
    node_watts: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    """Of boxes that are owned; a cloud machine's price has its electricity in it."""
    usd_per_kwh: Annotated[float, Field(ge=0, le=100)] = 0.0
    currency: str = "USD"

    @property
    def hours(self) -> float:
        """Of recording in a month, of one camera."""
        return HOURS_PER_MONTH * self.hours_per_day / 24

    @property
    def footage_gb(self) -> float:
        """Of all cameras in a month."""
        per_hour = self.gb_per_hour
        if per_hour is None:
            per_hour = (self.mbit_per_s or _usual_mbit_per_s(self)) * 1e6 * SECONDS_PER_HOUR / BITS_PER_GB
        return self.cameras * per_hour * self.hours

    @property
    def images(self) -> float:
        """Frames looked at in a month."""
        return self.cameras * self.frames_per_s * SECONDS_PER_HOUR * self.hours * self.looked_at

    @property
    def nodes(self) -> int:
        """Machines that keep up with the cameras while they record."""
        return math.ceil(self.cameras * self.frames_per_s * self.looked_at / self.node_frames_per_s - 1e-9)


@dataclass(frozen=True, slots=True)
class Volumes:
    """What one column pays for in a month."""

    stored_gb: float
    operations: float
    images: float = 0.0
    out_gb: float = 0.0
    """Fetched from the vendor."""
    uplink_gb: float = 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One vendor's table in USD, for all months together."""

    vendor: str
    name: str
    months: int
    usd: Mapping[Column, Mapping[Row, float]]
    nodes: int
    unconfirmed: tuple[str, ...]
    """Prices in it that were not read in the vendor's own price list."""

    def total(self, column: Column) -> float:
        """The column's sum."""
        return sum(self.usd[column].values())

    def saving(self, column: Column) -> float | None:
        """Share of the central sum that the column saves; negative where it costs more, None where nothing costs."""
        before = self.total("central")
        return 1 - self.total(column) / before if before else None


def figures(given: Mapping[str, object]) -> Figures:
    """The figures of a command line. Raises UsageError with every fault."""
    faults: list[Fault] = []
    currency = str(given.get("currency", "USD"))
    if currency.upper() != "USD":
        faults.append(Fault("currency", f"{currency!r}: the price table is in USD, and shoal converts nothing"))
    for one, other in (("gb_per_hour", "mbit_per_s"), ("node_usd_per_hour", "machine_type")):
        if given.get(one) is not None and given.get(other) is not None:
            faults.append(Fault(one, f"says the same as {other}: leave one out"))
    checked = None
    try:
        checked = Figures.model_validate(dict(given))
    except ValidationError as error:
        faults += field_faults(error)
    if faults or checked is None:
        raise UsageError("these figures cannot be reckoned with", faults=tuple(faults))
    return checked


def compare(figures: Figures, vendors: Sequence[str], prices: Prices) -> list[Comparison]:
    """A table per vendor. Raises UsageError where a vendor, or the price of the nodes, is not known."""
    faults = [
        Fault("vendor", f"{name!r} is not known; there are {', '.join(sorted(prices.vendors))}")
        for name in vendors
        if name not in prices.vendors
    ]
    node_usd, node_doubts = _node_price(figures, prices, faults)
    if faults:
        raise UsageError("these figures cannot be reckoned with", faults=tuple(faults))
    volumes = _volumes(figures)
    own = {
        "own nodes": figures.nodes * figures.hours * node_usd,
        "electricity": figures.nodes * figures.hours * figures.node_watts / 1000 * figures.usd_per_kwh,
    }
    found = []
    for name in vendors:
        usd: dict[Column, dict[Row, float]] = {}
        for column in COLUMNS:
            rows = priced(volumes[column], name, prices, uplink_usd_per_gb=figures.uplink_usd_per_gb)
            if column == "edge, own nodes":
                rows |= {"own nodes": own["own nodes"], "electricity": own["electricity"]}
            usd[column] = {row: figures.months * value for row, value in rows.items()}
        doubts = (*unconfirmed(name, prices), *node_doubts)
        found.append(Comparison(name, prices.vendors[name].name, figures.months, usd, figures.nodes, doubts))
    return found


def priced(volumes: Volumes, vendor: str, prices: Prices, *, uplink_usd_per_gb: float = 0.0) -> dict[Row, float]:
    """One month of one column, in USD."""
    tariff = prices.vendors[vendor]
    return {
        "storage": tariff.storage.usd(volumes.stored_gb),
        "access": volumes.operations / 1000 * tariff.access.usd_per_thousand,
        "AI service": tariff.ai.usd(volumes.images),
        "network out": volumes.out_gb * tariff.network_out.usd_per_gb + volumes.uplink_gb * uplink_usd_per_gb,
        "own nodes": 0.0,
        "electricity": 0.0,
    }


def unconfirmed(vendor: str, prices: Prices) -> tuple[str, ...]:
    """The vendor's prices that were not read in its own price list, by name."""
    parts = prices.vendors[vendor].parts().items()
    return tuple(f"{vendor} {part} ({price.as_of})" for part, price in parts if not price.confirmed)


def _volumes(figures: Figures) -> dict[Column, Volumes]:
    gb, images = figures.footage_gb, figures.images
    objects = figures.cameras * figures.hours * SECONDS_PER_HOUR / figures.segment_s
    kept = figures.matters

    def stored(share: float, reads: float) -> Volumes:
        held = gb * share * figures.keep_months
        return Volumes(held, objects * share + reads, reads, held * figures.viewed, gb * share)

    # The vendor's AI service reads each image from the store. With one's own nodes nothing but events is stored.
    return {
        "central": stored(1.0, images),
        "edge, vendor's AI": stored(kept, images),
        "edge, own nodes": stored(kept, 0.0),
    }


def _node_price(figures: Figures, prices: Prices, faults: list[Fault]) -> tuple[float, tuple[str, ...]]:
    if figures.machine_type is None:
        return figures.node_usd_per_hour or 0.0, ()
    machine = Machines("node", 1, figures.machine_type, spot=figures.spot)
    usd, unknown = machine_usd_per_hour(machine, prices, spot=figures.spot)
    if usd is None:
        what = ", ".join(unknown)
        faults.append(Fault("machine_type", f"no price is known for {what}; give --node-usd-per-hour"))
        return 0.0, ()
    family = prices.families[figures.machine_type.split("-")[0]]
    rate = family.spot if figures.spot else family.on_demand
    doubtful = rate is not None and not rate.confirmed
    return usd, (f"{figures.machine_type} ({rate.as_of})",) if doubtful and rate else ()


def _usual_mbit_per_s(figures: Figures) -> float:
    """A camera's bit rate where none is given: that of the walk-through's footage, by pixels and frames.

    11 GB an hour for 3840 x 2160 at 60 frames/s (110 GB an hour for ten cameras).
    """
    walk_through = 11 * BITS_PER_GB / SECONDS_PER_HOUR / 1e6
    return walk_through * figures.width * figures.height * figures.frames_per_s / (3840 * 2160 * 60)
