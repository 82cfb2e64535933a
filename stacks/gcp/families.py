"""Which disk types and zones go with which machine family; what cannot work is a fault with its reason."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shoal.errors import Fault
from stacks.gcp.config import Compute, GcpSettings, Requester

TABLE = Path(__file__).parent / "families.toml"
NO_GPUS = (
    "nodes with GPUs are not supported: no role installs the vendor's driver and container runtime, and the detector"
    " computes on processors, so a GPU would cost and do nothing"
)


class Family(BaseModel):
    """What goes with one family, and where that is from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    disks: tuple[str, ...]
    zones: tuple[str, ...] | None = None
    """All there are; any zone where left out."""
    gpu: str | None = None
    """The GPU that is a part of every machine type of it."""
    source: str
    confirmed: bool


@lru_cache
def table() -> Mapping[str, Family]:
    """The families that are known."""
    raw = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {name: Family.model_validate(entry) for name, entry in raw["families"].items()}


def faults(settings: GcpSettings) -> Iterator[Fault]:
    """Everything in the settings that does not go together."""
    places = settings.places
    requester, *computes = places
    yield from _of("requester", settings.requester, {requester: places[requester]})
    yield from _of("compute", settings.compute, {name: places[name] for name in computes})
    if settings.compute.gpu is not None:
        yield Fault("compute.gpu", NO_GPUS)


def _of(where: str, size: Requester | Compute, places: Mapping[str, str]) -> Iterator[Fault]:
    name = size.machine_type.partition("-")[0]
    family = table().get(name)
    if family is None:
        return  # of the person's own price table, or unknown: then its size is a fault already
    if family.gpu is not None:
        yield Fault(f"{where}.machineType", f"{size.machine_type} has a GPU ({family.gpu}); {NO_GPUS}")
    if size.disk_type not in family.disks:
        allowed = ", ".join(family.disks)
        yield Fault(f"{where}.diskType", f"{name} machines take {allowed}, not {size.disk_type}")
    if family.zones is not None:
        for zone in sorted({zone for zone in places.values() if zone not in family.zones}):
            allowed = ", ".join(family.zones)
            yield Fault("zones", f"there are no {name} machines in {zone}; they are in {allowed}")
