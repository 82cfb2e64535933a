"""What machines cost: the dated price table `prices.toml`, estimates from it, and the ceiling that stops a preview."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shoal.cluster.document import Arch, field_faults
from shoal.errors import Fault, UsageError

HOURS_PER_DAY = 24
SECONDS_PER_HOUR = 3600
HOURS_PER_MONTH = 730
"""What the vendor reckons a month as when it turns a monthly disk price into seconds."""
TABLE = Path(__file__).resolve().parent.parent / "prices.toml"

Usd = Annotated[float, Field(ge=0)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Price(_Table):
    source: str
    """Which of the table's sources it is from."""
    as_of: Annotated[str, Field(min_length=1)]
    """Of when the source is, as far as that is known."""
    confirmed: bool
    """Read in the vendor's own price list; else it is remembered, or from another source."""


class Rate(_Price):
    """Price of a machine's parts."""

    vcpu_usd_per_hour: Usd
    gib_usd_per_hour: Usd


class Family(_Table):
    """A family of machine types; a rate that is left out is unknown."""

    arch: Arch
    memory_gib_per_vcpu: dict[str, Annotated[float, Field(gt=0)]]
    on_demand: Rate | None = None
    spot: Rate | None = None


class DiskPrice(_Price):
    """Price of provisioned disk space."""

    gib_usd_per_month: Usd


class HourPrice(_Price):
    """Price of one thing."""

    usd_per_hour: Usd


class GpuPrice(_Table):
    """Prices of one GPU; left out means unknown."""

    on_demand: HourPrice | None = None
    spot: HourPrice | None = None


class NatPrice(_Price):
    """Price of the way out."""

    usd_per_vm_hour: Usd
    address_usd_per_hour: Usd = 0
    """Of its public address, whether machines run or not."""
    usd_per_gib: Usd | None = None
    """Of what goes through, in both directions; no estimate counts it."""


class GibPrice(_Price):
    """Price of one kind of traffic."""

    usd_per_gib: Usd


class Tier(_Table):
    """One step of a graduated price; it counts from where the step before ends."""

    up_to: Annotated[float, Field(gt=0)] | None = None
    """Units up to which it counts; None for all that is over."""
    usd: Usd
    """Per unit."""


class Tiers(_Price):
    """A graduated price: each unit costs what its step says."""

    tiers: Annotated[list[Tier], Field(min_length=1)]

    @model_validator(mode="after")
    def _rising(self) -> Tiers:
        ends = [tier.up_to for tier in self.tiers]
        limits = [end for end in ends[:-1] if end is not None]
        if ends[-1] is not None or len(limits) != len(ends) - 1 or limits != sorted(set(limits)):
            raise ValueError("each step but the last needs an `up_to`, and they must rise")
        return self

    def usd(self, units: float) -> float:
        """What `units` cost together."""
        total, start = 0.0, 0.0
        for tier in self.tiers:
            end = units if tier.up_to is None else min(units, tier.up_to)
            total += max(0.0, end - start) * tier.usd
            start = max(start, end)
        return total


class AccessPrice(_Price):
    """Price of operations on stored objects."""

    usd_per_thousand: Usd


class TrafficPrice(_Price):
    """Price of data that leaves the vendor."""

    usd_per_gb: Usd


class Vendor(_Table):
    """What one vendor asks for central processing."""

    name: str
    storage: Tiers
    """Per GB and month."""
    access: AccessPrice
    ai: Tiers
    """Per image, of one month."""
    network_out: TrafficPrice

    def parts(self) -> dict[str, _Price]:
        """Its prices by the names that people read."""
        return {
            "storage": self.storage,
            "access": self.access,
            "AI service": self.ai,
            "network out": self.network_out,
        }


class Prices(_Table):
    """The price table."""

    schema_version: int = Field(ge=2, le=2)
    written_on: date
    region: str
    sources: dict[str, str]
    families: dict[str, Family]
    disks: dict[str, DiskPrice]
    gpus: dict[str, GpuPrice]
    nat: NatPrice
    traffic: dict[str, GibPrice] = Field(default_factory=dict)
    """By where it goes; named in the cost line and not counted."""
    vendors: dict[str, Vendor] = Field(default_factory=dict)

    def unsourced(self) -> list[Fault]:
        """Prices whose source the table does not name."""
        named: dict[str, _Price | None] = {"nat": self.nat}
        for name, family in self.families.items():
            named |= {f"families.{name}.on_demand": family.on_demand, f"families.{name}.spot": family.spot}
        for name, disk in self.disks.items():
            named[f"disks.{name}"] = disk
        for name, gpu in self.gpus.items():
            named |= {f"gpus.{name}.on_demand": gpu.on_demand, f"gpus.{name}.spot": gpu.spot}
        named |= {f"traffic.{name}": price for name, price in self.traffic.items()}
        for name, vendor in self.vendors.items():
            named |= {f"vendors.{name}, {part}": price for part, price in vendor.parts().items()}
        return [
            Fault(f"{where}.source", f"{price.source!r} is not among [sources]")
            for where, price in named.items()
            if price is not None and price.source not in self.sources
        ]


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a machine's price; `usd` is None where no price is known."""

    name: str
    usd: float | None = None
    confirmed: bool = True
    what: str = ""
    """The part's price by the name of the table, for those that are not confirmed."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a machine type is."""

    machine_type: str
    family: str
    vcpus: int
    memory_gib: float
    arch: Arch
    custom: bool = False


@dataclass(frozen=True, slots=True)
class Machines:
    """`count` equal machines of a cluster. `usd_per_hour` is the owner's own figure and beats the table."""

    what: str
    count: int
    machine_type: str | None = None
    spot: bool = False
    disks: tuple[tuple[str, int], ...] = ()
    """Disk type and size in GiB, of each disk of one machine."""
    gpu: tuple[str, int] | None = None
    """GPU type and number, of one machine."""
    nat: bool = False
    usd_per_hour: float | None = None
    works: bool = False
    """Whether it processes video."""


@dataclass(frozen=True, slots=True)
class Footage:
    """What the cost of an hour of video is reckoned with: the walk-through's 4K at 60 frames/s, 10 frames/s a node."""

    frames_per_s: float = 60.0
    node_frames_per_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost of a cluster. None and `unknown` where a price is not known; then the sums would be too low to show."""

    usd_per_hour: float | None
    on_demand_usd_per_hour: float | None
    usd_per_video_hour: float | None
    hours_per_video_hour: float | None
    unknown: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()
    """Prices in it that are not from the vendor's own words."""
    remarks: tuple[str, ...] = field(default=())
    stopped_usd_per_hour: float | None = None
    """What goes on while every machine is stopped: disks, and the way out's address. None where nothing is known to."""

    @property
    def usd_per_day(self) -> float | None:
        """Cost of a day."""
        return None if self.usd_per_hour is None else self.usd_per_hour * HOURS_PER_DAY

    def line(self) -> str:
        """The one line shown at preview."""
        if self.usd_per_hour is None:
            line = f"cost: unknown, since no price is known for {', '.join(self.unknown)}"
        else:
            line = f"cost: {self.usd_per_hour:.2f} USD per hour, {self.usd_per_hour * HOURS_PER_DAY:.2f} per day"
            if self.on_demand_usd_per_hour is None:
                line += " (on demand: unknown)"
            elif self.on_demand_usd_per_hour != self.usd_per_hour:
                hour, day = self.on_demand_usd_per_hour, self.on_demand_usd_per_hour * HOURS_PER_DAY
                line += f" (on demand {hour:.2f} per hour, {day:.2f} per day)"
            if self.usd_per_video_hour is not None and self.hours_per_video_hour is not None:
                line += (
                    f"; {self.usd_per_video_hour:.2f} USD per processed hour of video,"
                    f" in {self.hours_per_video_hour:.1f} h"
                )
            if self.stopped_usd_per_hour:
                hour, day = self.stopped_usd_per_hour, self.stopped_usd_per_hour * HOURS_PER_DAY
                line += f"; with every machine stopped still {hour:.2f} per hour, {day:.2f} per day"
        doubts = [f"some prices unconfirmed ({', '.join(self.unconfirmed)})"] if self.unconfirmed else []
        return "; ".join((line, *self.remarks, *doubts))


def load_prices(path: Path = TABLE) -> Prices:
    """The price table at `path`. Raises UsageError with every fault of it."""
    try:
        prices = Prices.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError(f"there is no price table at {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the price table {path} cannot be read: {error}") from None
    except ValidationError as error:
        raise UsageError(f"{path} is not a valid price table", faults=tuple(field_faults(error))) from None
    if faults := prices.unsourced():
        raise UsageError(f"{path} is not a valid price table", faults=tuple(faults))
    return prices


def shape(machine_type: str, prices: Prices) -> Shape | None:
    """Size and architecture of a machine type, predefined or custom (`e2-custom-8-16384`); None where unknown."""
    if custom := re.fullmatch(r"([a-z0-9]+)-custom-(\d+)-(\d+)(?:-ext)?", machine_type):
        family = prices.families.get(custom[1])
        if family is None:
            return None
        return Shape(machine_type, custom[1], int(custom[2]), int(custom[3]) / 1024, family.arch, custom=True)
    if predefined := re.fullmatch(r"([a-z0-9]+)-([a-z]+)-(\d+)", machine_type):
        family = prices.families.get(predefined[1])
        if family is None or (per_vcpu := family.memory_gib_per_vcpu.get(predefined[2])) is None:
            return None
        vcpus = int(predefined[3])
        return Shape(machine_type, predefined[1], vcpus, vcpus * per_vcpu, family.arch)
    return None


def machine_usd_per_hour(machines: Machines, prices: Prices, *, spot: bool) -> tuple[float | None, tuple[str, ...]]:
    """Price of one machine with its disks and GPUs, and the names of the parts whose price is not known."""
    parts = _parts(machines, prices, spot=spot)
    unknown = tuple(part.name for part in parts if part.usd is None)
    return (None if unknown else sum(part.usd for part in parts if part.usd is not None)), unknown


def estimate(
    machines: Sequence[Machines], prices: Prices, *, footage: Footage | None = None, region: str | None = None
) -> Estimate:
    """Cost per hour, day and processed hour of video of all `machines` together, spot where they are and on demand."""
    footage = footage or Footage()
    hourly, on_demand, unknown, unconfirmed = 0.0, 0.0, list[str](), list[str]()
    on_demand_known = True
    for group in machines:
        usd, missing = machine_usd_per_hour(group, prices, spot=group.spot)
        unknown += [name for name in missing if name not in unknown]
        hourly += group.count * (usd or 0.0)
        full, _ = machine_usd_per_hour(group, prices, spot=False)
        on_demand_known = on_demand_known and full is not None
        on_demand += group.count * (full or 0.0)
        parts = [*_parts(group, prices, spot=group.spot), *_parts(group, prices, spot=False)]
        unconfirmed += [part.what for part in parts if part.usd is not None and not part.confirmed]
    address = prices.nat.address_usd_per_hour if any(group.nat for group in machines) else 0.0
    hourly, on_demand = hourly + address, on_demand + address
    workers = sum(group.count for group in machines if group.works)
    hours = footage.frames_per_s / (footage.node_frames_per_s * workers) if workers else None
    remarks = ["the owner's own figures"]
    if any(group.machine_type for group in machines):
        remarks = [f"list prices of {prices.region}, {prices.written_on.isoformat()}, {_left_out(machines, prices)}"]
    if region and region != prices.region:
        remarks.append(f"prices of {region} differ")
    return Estimate(
        usd_per_hour=None if unknown else hourly,
        on_demand_usd_per_hour=on_demand if on_demand_known else None,
        usd_per_video_hour=None if unknown or hours is None else hourly * hours,
        hours_per_video_hour=hours,
        unknown=tuple(unknown),
        unconfirmed=tuple(dict.fromkeys(unconfirmed)),
        remarks=tuple(remarks),
        stopped_usd_per_hour=stopped_usd_per_hour(machines, prices),
    )


def stopped_usd_per_hour(machines: Sequence[Machines], prices: Prices) -> float | None:
    """What goes on costing while all `machines` are stopped; None where a disk's price is not known."""
    total = prices.nat.address_usd_per_hour if any(group.nat for group in machines) else 0.0
    for group in machines:
        for part in (_disk(kind, size_gib, prices) for kind, size_gib in group.disks):
            if part.usd is None:
                return None
            total += group.count * part.usd
    return total


def _left_out(machines: Sequence[Machines], prices: Prices) -> str:
    """What is not counted, with its price where one is known."""
    known = {name: price.usd_per_gib for name, price in prices.traffic.items()}
    if prices.nat.usd_per_gib is not None and any(group.nat for group in machines):
        known = {"through NAT": prices.nat.usd_per_gib, **known}
    if not known or not any(group.nat for group in machines):
        return "without traffic"
    listed = ", ".join(f"{usd:g} {name}" for name, usd in known.items())
    return f"without traffic (USD per GiB: {listed})"


def ceiling_faults(cost: Estimate, ceiling_usd_per_day: float | None, *, where: str) -> list[Fault]:
    """What stands against the ceiling: too dear, or a price that is not known and so cannot be held under it."""
    if ceiling_usd_per_day is None:
        return []
    if cost.usd_per_day is None:
        return [Fault(where, f"is set, but no price is known for {', '.join(cost.unknown)}")]
    if cost.usd_per_day > ceiling_usd_per_day:
        return [Fault(where, f"{cost.usd_per_day:.2f} USD per day is over the ceiling of {ceiling_usd_per_day:.2f}")]
    return []


def _parts(machines: Machines, prices: Prices, *, spot: bool) -> list[_Part]:
    if machines.usd_per_hour is not None:
        return [_Part(machines.what, machines.usd_per_hour)]
    if machines.machine_type is None:
        return [_Part(machines.what)]
    parts = [_bare(machines.machine_type, prices, spot=spot)]
    parts += [_disk(kind, size_gib, prices) for kind, size_gib in machines.disks]
    if machines.gpu:
        parts.append(_gpu(*machines.gpu, prices, spot=spot))
    if machines.nat:
        parts.append(_Part("NAT", prices.nat.usd_per_vm_hour, prices.nat.confirmed, "NAT"))
    return parts


def _bare(machine_type: str, prices: Prices, *, spot: bool) -> _Part:
    how = "spot" if spot else "on demand"
    name = f"{machine_type} ({how})"
    known = shape(machine_type, prices)
    if known is None or known.custom:  # custom shapes have rates of their own, which the table lacks
        return _Part(name)
    family = prices.families[known.family]
    rate = family.spot if spot else family.on_demand
    if rate is None:
        return _Part(name)
    usd = known.vcpus * rate.vcpu_usd_per_hour + known.memory_gib * rate.gib_usd_per_hour
    return _Part(name, usd, rate.confirmed, f"{known.family} {how}")


def _disk(kind: str, size_gib: int, prices: Prices) -> _Part:
    price = prices.disks.get(kind)
    if price is None:
        return _Part(f"disk {kind}")
    usd = size_gib * price.gib_usd_per_month / HOURS_PER_MONTH
    return _Part(f"disk {kind}", usd, price.confirmed, f"disk {kind}")


def _gpu(kind: str, count: int, prices: Prices, *, spot: bool) -> _Part:
    how = "spot" if spot else "on demand"
    gpu = prices.gpus.get(kind) or GpuPrice()
    price = gpu.spot if spot else gpu.on_demand
    if price is None:
        return _Part(f"{kind} ({how})")
    return _Part(f"{kind} ({how})", count * price.usd_per_hour, price.confirmed, f"{kind} {how}")
