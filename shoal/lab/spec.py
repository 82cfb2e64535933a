"""What is asked of `up`: the lab's knobs, checked all at once before anything is touched."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from shoal.errors import Fault, UsageError

DEFAULT_COMPUTE = 2
MAX_COMPUTE = 50
"""More machines than that need more than one host; 20 were seen to run on two cores."""
REQUESTER_HOST_NUMBER = 10
"""The requester is .10 of the lab's subnet, compute-N is .10+N."""
CAMERAS, STORE = "cameras", "store"
"""Machines that are no nodes of the cluster: what the nodes record, and where they ship to."""
_HOST_NUMBERS = {CAMERAS: 4, STORE: 5, "requester": REQUESTER_HOST_NUMBER}
MAX_CAMERAS = 16
"""Of one node; four processes of 60 MB each serve four cameras."""
MIN_MEMORY_MIB = 128

OTHERS_NAMES = frozenset({"gcp", "edge", "onprem"})
"""A cluster's document, tokens and locks are kept under its name: a stack's must not become a lab's."""
LAB_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$")


@dataclass(frozen=True, slots=True)
class LabSpec:
    """The knobs of a lab. `None` means: as the existing lab has it, else the default."""

    name: str = "lab"
    compute: int | None = None
    """Number of compute nodes; default 2."""
    subnet: str | None = None
    """IPv4 range of the lab's network, e.g. `10.213.0.0/24`; default: the first free one of a short list."""
    memory_mib: int | None = None
    """Memory limit of each node; default: none."""
    cpus: float | None = None
    """Processor limit of each node; default: none."""
    image: str | None = None
    """A node image of one's own, already in the engine; default: the one built here."""
    boot_timeout_s: float = 120.0
    """How long a node may take until systemd has settled and sshd answers."""
    cameras: int | None = None
    """RTSP cameras of each compute node, and with any a store that speaks S3; default 0."""


def check(spec: LabSpec) -> None:
    """Raise UsageError with every fault of `spec`."""
    faults = []
    if not LAB_NAME.fullmatch(spec.name):
        faults.append(
            Fault("name", f"{spec.name!r}: lower-case letters, digits and inner dashes, at most 20 characters")
        )
    if spec.name in OTHERS_NAMES:
        faults.append(Fault("name", f"{spec.name!r} is the name of a stack's or a site's cluster"))
    compute = DEFAULT_COMPUTE if spec.compute is None else spec.compute
    if not 1 <= compute <= MAX_COMPUTE:
        faults.append(Fault("compute", f"{compute}: must be 1 to {MAX_COMPUTE}"))
    if spec.subnet is not None:
        faults += _subnet_faults(spec.subnet, max(compute, 1))
    if spec.memory_mib is not None and spec.memory_mib < MIN_MEMORY_MIB:
        faults.append(Fault("memory", f"{spec.memory_mib} MiB: a node needs at least {MIN_MEMORY_MIB} MiB"))
    if spec.cpus is not None and not spec.cpus > 0:
        faults.append(Fault("cpus", f"{spec.cpus}: must be more than 0"))
    if spec.cameras is not None and not 0 <= spec.cameras <= MAX_CAMERAS:
        faults.append(Fault("cameras", f"{spec.cameras}: must be 0 to {MAX_CAMERAS}"))
    if not spec.boot_timeout_s > 0:
        faults.append(Fault("boot_timeout_s", f"{spec.boot_timeout_s}: must be more than 0"))
    if faults:
        raise UsageError("the lab cannot be as asked; nothing was changed", faults=tuple(faults))


def _subnet_faults(text: str, compute: int) -> list[Fault]:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        return [Fault("subnet", str(error))]
    if network.version != 4:
        return [Fault("subnet", f"{text}: must be an IPv4 range")]
    if not network.is_private or network.is_link_local or network.is_loopback:
        return [Fault("subnet", f"{text}: must be a private range, as 10.213.0.0/24")]
    # The first address is the gateway's, the last the broadcast's.
    if network.num_addresses < REQUESTER_HOST_NUMBER + compute + 2:
        return [Fault("subnet", f"{text}: too small for {compute} compute nodes")]
    return []


def node_names(compute: int) -> list[str]:
    """Names of a lab's machines, the requester first."""
    return ["requester", *(f"compute-{number}" for number in range(1, compute + 1))]


def machine_names(compute: int, cameras: int) -> list[str]:
    """All of a lab's machines: its nodes, and with cameras those that are none."""
    return [*node_names(compute), *((CAMERAS, STORE) if cameras else ())]


def node_address(subnet: str, node: str) -> str:
    """The fixed address of a machine in the lab's subnet."""
    number = _HOST_NUMBERS.get(node) or REQUESTER_HOST_NUMBER + int(node.removeprefix("compute-"))
    return str(ipaddress.ip_network(subnet).network_address + number)
