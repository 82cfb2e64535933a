"""The lab's own bridge network and its range of addresses, which must not be anybody else's."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from pathlib import Path

from docker.errors import APIError
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from shoal.errors import Fault, UsageError
from shoal.lab import host, names
from shoal.lab.client import Engine, plain_errors

INTERFACES = Path("/sys/class/net")
CANDIDATES = (
    "10.213.0.0/24", "10.213.64.0/24", "10.213.128.0/24", "10.213.192.0/24",
    "172.30.213.0/24", "172.31.213.0/24", "192.168.213.0/24",
)  # fmt: skip
"""Tried in turn where no subnet is asked for: one of each private range in case a site uses a whole one."""


def existing(engine: Engine, lab: str) -> Network | None:
    """The lab's network, if it is there. Raises UsageError where somebody else's has its name."""
    with plain_errors("listing networks"):
        named = engine.client.networks.list(names=[names.network_name(lab)])
    for network in named:
        if network.name != names.network_name(lab):
            continue
        labels = network.attrs.get("Labels") or {}
        if any(labels.get(key) != value for key, value in names.lab_labels(lab).items()):
            raise UsageError(
                f"the engine has a network {network.name!r} that is not this lab's",
                hint="give the lab another name (--name), or remove that network yourself",
            )
        return network
    return None


def subnet_of(network: Network) -> str:
    """The network's range."""
    return str(network.attrs["IPAM"]["Config"][0]["Subnet"])


class RangeTakenError(UsageError):
    """The engine has given a part of the range to somebody else."""


def create_free(engine: Engine, lab: str, planned: str, mtu: int, *, fixed: bool) -> str:
    """Make the lab's network and give its range: `planned`, or another where it was taken meanwhile.

    Between the plan and this moment lies the making of an image; another lab may have come in. Raises RangeTakenError
    where the range is `fixed`, UsageError where none is free any more.
    """
    subnet, tried = planned, list[str]()
    while True:
        try:
            create(engine, lab, subnet, mtu)
        except RangeTakenError:
            tried.append(subnet)
            if fixed:
                raise
            mine = [("another network of the engine", ipaddress.IPv4Network(one)) for one in tried]
            subnet = choose(None, [*taken_ranges(engine, lab), *mine])
        else:
            return subnet


def create(engine: Engine, lab: str, subnet: str, mtu: int) -> Network:
    """Make the lab's network. Raises RangeTakenError where the engine gave the range to another."""
    with plain_errors("making the lab's network"):
        try:
            return _create(engine, lab, subnet, mtu)
        except APIError as error:
            if "overlaps" not in str(error.explanation):
                raise
            raise RangeTakenError(
                f"the address range {subnet} is in use by another network of the engine",
                hint="give a free private range with --subnet, as --subnet 10.99.0.0/24",
            ) from None


def _create(engine: Engine, lab: str, subnet: str, mtu: int) -> Network:
    gateway = gateway_of(subnet)
    return engine.client.networks.create(
        names.network_name(lab),
        driver="bridge",
        check_duplicate=True,
        labels={**names.lab_labels(lab), names.ROLE_LABEL: "network"},
        ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=subnet, gateway=gateway)]),
        options={
            "com.docker.network.bridge.name": names.bridge_name(lab),
            "com.docker.network.driver.mtu": str(mtu),
        },
    )


def remove_stray_bridge(lab: str) -> None:
    """Take away the lab's interface where an engine that was killed, or lost its data, left it behind."""
    bridge = names.bridge_name(lab)
    if (INTERFACES / bridge / "bridge").is_dir() and (program := shutil.which("ip")):
        # What it cannot remove shows in the proof that follows.
        subprocess.run([program, "link", "delete", "dev", bridge, "type", "bridge"], capture_output=True, check=False)


def gateway_of(subnet: str) -> str:
    """The first address of the range: this machine, as the nodes see it."""
    return str(ipaddress.ip_network(subnet).network_address + 1)


def choose(wanted: str | None, taken: list[tuple[str, ipaddress.IPv4Network]]) -> str:
    """The range asked for, or the first free candidate. Raises UsageError that names what uses it.

    `taken` are pairs of who uses a range and the range.
    """
    tried = [wanted] if wanted else list(CANDIDATES)
    faults = []
    for text in tried:
        subnet = ipaddress.IPv4Network(text)
        users = [f"{who} ({network})" for who, network in taken if network.overlaps(subnet)]
        if not users:
            return text
        faults.append(Fault(f"subnet {text}", "in use by " + ", ".join(users)))
    raise UsageError(
        "the address range is in use" if wanted else "no address range is free for the lab",
        faults=tuple(faults),
        hint="give a free private range with --subnet, as --subnet 10.99.0.0/24",
    )


def taken_ranges(engine: Engine, lab: str) -> list[tuple[str, ipaddress.IPv4Network]]:
    """Ranges that this machine's routes and the engine's other networks use."""
    with plain_errors("listing networks"):
        networks = engine.client.networks.list()
    taken, bridges = [], {names.bridge_name(lab)}
    for network in networks:
        if network.name == names.network_name(lab):
            continue
        for pool in (network.attrs.get("IPAM") or {}).get("Config") or []:
            subnet = ipaddress.ip_network(pool.get("Subnet", "::/128"))
            if isinstance(subnet, ipaddress.IPv4Network):
                taken.append((f"the engine's network {network.name!r}", subnet))
                bridges |= {str((network.attrs.get("Options") or {}).get("com.docker.network.bridge.name", ""))}
    for route in host.routes():
        if route.network.prefixlen and route.interface not in bridges:
            taken.append((f"this machine's route by {route.interface}", route.network))
    return taken
