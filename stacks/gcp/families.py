"""Which processor, disk types and zones go with which machine family; what cannot work is a fault with its reason."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shoal.cluster.document import Arch
from shoal.cost import prices as cost
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

    arch: Arch
    disks: tuple[str, ...]
    zones: tuple[str, ...] | None = None
    """All there are; any zone where left out."""
    gpu: str | None = None
    """The GPU that is a part of every machine type of it."""
    source: str
    confirmed: bool
    """Said by a program or an answer of the vendor's; else only remembered."""


@lru_cache
def table() -> Mapping[str, Family]:
    """The families that are known."""
    raw = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {name: Family.model_validate(entry) for name, entry in raw["families"].items()}


def architecture(machine_type: str, prices: cost.Prices) -> Arch:
    """Processor architecture of a machine type; of a family that is not known here, the price table's word."""
    if family := table().get(machine_type.partition("-")[0]):
        return family.arch
    shape = cost.shape(machine_type, prices)
    return shape.arch if shape else "amd64"


def faults(settings: GcpSettings) -> Iterator[Fault]:
    """Everything in the settings that does not go together."""
    places = settings.places
    requester, *computes = places
    yield from _of("requester", settings.requester, {requester: places[requester]})
    yield from _of("compute", settings.compute, {name: places[name] for name in computes})
    if settings.compute.gpu is not None:
        yield Fault("compute.gpu", NO_GPUS)
    yield from _image(settings)


def _image(settings: GcpSettings) -> Iterator[Fault]:
    """One image boots on one kind of processor. What it is made for only its name tells, and only for arm64."""
    if settings.image is None:
        return
    types = {"requester": settings.requester.machine_type, "compute": settings.compute.machine_type}
    kinds = {where: architecture(machine_type, settings.prices) for where, machine_type in types.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{where} is {kind} ({types[where]})" for where, kind in kinds.items())
        yield Fault("image", f"one image cannot boot them all: {told}; leave it out, then each gets its own")
    elif settings.image.endswith("-arm64") and kinds["compute"] != "arm64":
        yield Fault("image", f"{settings.image} is for arm64, and {types['compute']} is {kinds['compute']}")


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
