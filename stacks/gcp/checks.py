"""Every check of the gcp stack's settings that no single field shows; all faults are reported before any resource."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from shoal.cost import prices as cost
from shoal.errors import Fault, UsageError
from stacks.common.cost_line import cost_of
from stacks.common.settings import validated
from stacks.gcp import families
from stacks.gcp.config import Compute, GcpSettings, Requester

# Lower and upper bounds of the walk-through: vCPU, memory and disk of a control node and of a compute node.
REQUESTER_BOUNDS = {"vCPU": (4, 8), "GiB of memory": (8, 16), "GiB of disk": (25, 100)}
COMPUTE_BOUNDS = {"vCPU": (1, 32), "GiB of memory": (8, 64), "GiB of disk": (32, 500)}
RECOMMENDED_COMPUTE = 3
# The vendor keeps four addresses of every subnet.
_RESERVED_ADDRESSES = 4
_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")


def checked(raw: dict[str, Any], project: str | None) -> tuple[GcpSettings | None, cost.Estimate | None, list[Fault]]:
    """The typed settings and their cost, or every fault there is."""
    settings, faults = validated(GcpSettings, raw)
    if not _PROJECT.fullmatch(project or ""):
        faults.append(Fault("gcp:project", f"must be the id of a Google Cloud project (found {project!r})"))
    if settings is None:
        return None, None, faults
    faults += [*_places(settings), *_login(settings)]
    try:
        prices = settings.prices
    except UsageError as error:
        return settings, None, [*faults, Fault("pricesFile", error.message), *error.faults]
    faults += [*_sizes(settings, prices), *families.faults(settings)]
    estimate, over = cost_of(machines(settings), settings, prices, region=settings.region)
    return settings, _with_bucket(estimate, settings, prices), [*faults, *over]


def _with_bucket(estimate: cost.Estimate, settings: GcpSettings, prices: cost.Prices) -> cost.Estimate:
    """The estimate with a note on the bucket: what it will hold is not known before."""
    if settings.bucket is None:
        return estimate
    google = prices.vendors.get("google")
    price = f"{google.storage.tiers[0].usd:g} USD per GB and month" if google else "a price that is not known"
    doubt = "" if google is None or google.storage.confirmed else ", unconfirmed"
    return replace(
        estimate, remarks=(*estimate.remarks, f"the bucket comes on top: {price} in Standard{doubt}, and requests")
    )


def machines(settings: GcpSettings) -> list[cost.Machines]:
    """The lab's machines as the cost estimate wants them."""
    requester, compute = settings.requester, settings.compute
    return [
        cost.Machines(
            "requester", 1, requester.machine_type, disks=((requester.disk_type, requester.disk_gib),), nat=True
        ),
        cost.Machines(
            "compute",
            compute.count,
            compute.machine_type,
            spot=compute.spot,
            disks=((compute.disk_type, compute.disk_gib), (compute.disk_type, compute.data_disk_gib)),
            nat=True,
            works=True,
        ),
    ]


def warnings(settings: GcpSettings) -> Iterator[str]:
    """What is allowed but not advised."""
    if settings.compute.count < RECOMMENDED_COMPUTE:
        yield f"compute.count is {settings.compute.count}; at least {RECOMMENDED_COMPUTE} are recommended"
    hours, left_h = settings.max_run_hours, (settings.expires_at - datetime.now(UTC)).total_seconds() / 3600
    if hours is not None and 0 < left_h < hours:
        yield f"maxRunHours is {hours}, and the lab is to be gone in {left_h:.0f} h: leave it out, then both agree"
    if settings.expired:
        yield f"the lab expired at {settings.expires_at.isoformat()}: set expiresAt anew or destroy it"


def _places(settings: GcpSettings) -> Iterator[Fault]:
    for index, zone in enumerate(settings.zone_list):
        if zone.rpartition("-")[0] != settings.region:
            yield Fault(f"zones[{index}]", f"{zone} is not in region {settings.region}")
        if zone in settings.zone_list[:index]:
            yield Fault(f"zones[{index}]", f"{zone} is named twice")
    for name, zone in settings.node_zones.items():
        if name not in settings.places:
            yield Fault(f"nodeZones.{name}", f"no machine has this name; they are {', '.join(settings.places)}")
        if zone.rpartition("-")[0] != settings.region:
            yield Fault(f"nodeZones.{name}", f"{zone} is not in region {settings.region}")
    try:
        subnet = ipaddress.IPv4Network(settings.subnet_cidr)
    except ValueError as error:
        yield Fault("subnetCidr", f"is not an IPv4 network: {error}")
        return
    if not subnet.is_private:
        yield Fault("subnetCidr", f"{subnet} is not a private network")
    elif subnet.num_addresses - _RESERVED_ADDRESSES < 1 + settings.compute.count:
        yield Fault("subnetCidr", f"{subnet} has no room for {1 + settings.compute.count} machines")


def _login(settings: GcpSettings) -> Iterator[Fault]:
    if settings.login == "os-login" and settings.ssh_user is None:
        yield Fault(
            "sshUser", "must be the OS Login name of whoever bootstraps the lab (`shoal up` asks gcloud for it)"
        )
    if settings.login == "key" and settings.ssh_public_key is None:
        yield Fault("sshPublicKey", "must be set with login: key (`shoal up` makes a key)")
    if settings.login == "os-login" and settings.ssh_public_key is not None:
        yield Fault("sshPublicKey", "has no place with login: os-login, where keys belong to accounts")


def _sizes(settings: GcpSettings, prices: cost.Prices) -> Iterator[Fault]:
    requester, compute = settings.requester, settings.compute
    larger = settings.allow_larger
    yield from _bounds(
        "requester", requester, requester.disk_gib, bounds=REQUESTER_BOUNDS, larger=larger, prices=prices
    )
    disk_gib = compute.disk_gib + compute.data_disk_gib
    yield from _bounds("compute", compute, disk_gib, bounds=COMPUTE_BOUNDS, larger=larger, prices=prices)


def _bounds(
    where: str,
    node: Requester | Compute,
    disk_gib: int,
    *,
    bounds: dict[str, tuple[int, int]],
    larger: bool,
    prices: cost.Prices,
) -> Iterator[Fault]:
    shape = cost.shape(node.machine_type, prices)
    if shape is None:
        known = ", ".join(sorted(prices.families))
        yield Fault(
            f"{where}.machineType",
            f"the size of {node.machine_type} is not known; families that are: {known} (add others in a pricesFile)",
        )
    found: dict[str, float] = {"GiB of disk": disk_gib}
    if shape is not None:
        found |= {"vCPU": shape.vcpus, "GiB of memory": shape.memory_gib}
    for what, value in found.items():
        least, most = bounds[what]
        field = f"{where}.diskGib" if what == "GiB of disk" else f"{where}.machineType"
        if value < least:
            yield Fault(field, f"{value:g} {what} is under the minimum of {least}")
        elif value > most and not larger:
            yield Fault(field, f"{value:g} {what} is over {most}; allowLarger: true lifts this bound")
