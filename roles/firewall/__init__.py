"""Role `firewall`: nothing from outside but SSH on the management address; the mesh is inside.

Without a mesh (`firewall = "on"` in the cluster document) the requester lets the site's own nodes in besides.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.common import knobs
from roles.common.facts import Existing
from roles.common.operations import (
    absent,
    empty_folders_absent,
    packages,
    recorded_files_absent,
    recorded_packages_absent,
    service,
    service_absent,
    text_file,
)
from roles.firewall.defaults import Firewall
from roles.firewall.operations import (
    FILES,
    RULES,
    UNIT,
    in_force,
    machine_addresses,
    own_connection,
    sshd_ports,
    table_absent,
)
from roles.firewall.rules import Openings, management
from shoal.errors import Fault

ROLE = "firewall"
PACKAGE = "nftables"
OUR_UNIT = f"/etc/systemd/system/{UNIT}"
TIMER = "shoal-firewall-check.timer"
OUR_FILES = {
    OUR_UNIT: "firewall.service",
    "/etc/systemd/system/nftables.service.d/shoal-firewall.conf": "nftables.conf",
    "/etc/systemd/system/shoal-firewall-check.service": "check.service",
    f"/etc/systemd/system/{TIMER}": "check.timer",
}
"""By path, the role's file that goes there."""


@deploy("firewall")
def install() -> None:
    """The program, the unit for every boot, then the rules, which have to prove themselves."""
    settings = knobs.read(Firewall, host)
    node = knobs.node_of(host)
    packages(name="Install nftables", names=[PACKAGE], role=ROLE, _timeout=settings.firewall_apt_timeout_s)
    for path, name in OUR_FILES.items():
        text_file(name=f"Write {name}", path=path, content=(FILES / name).read_text(encoding="utf-8"), role=ROLE)
    interfaces = machine_addresses()
    openings = Openings(
        mesh_interface=settings.firewall_mesh_interface,
        ssh_ports=settings.firewall_ssh_ports or sshd_ports(),
        management=management(settings.firewall_management_addresses, node.first_address or node.address, interfaces),
        container_interfaces=settings.firewall_container_interfaces,
        ping=settings.firewall_ping,
        direct_udp_port=settings.firewall_direct_udp_port,
        **_peers(settings),
    )
    in_force(
        name="Let nothing in but SSH and the mesh",
        openings=openings,
        own=own_connection(interfaces),
        rollback_s=settings.firewall_rollback_s,
    )
    service(name="Look after them every minute", unit=TIMER, config_files=[f"/etc/systemd/system/{TIMER}"])


def _peers(settings: Firewall) -> dict[str, tuple[Any, ...]]:
    """Who is let in to what on the requester where there is no mesh; no one elsewhere. Raises RefusedError."""
    node, cluster = knobs.node_of(host), knobs.cluster_of(host)
    if cluster.mesh == "tailscale" or not node.has_role("requester"):
        return {}
    addresses = settings.firewall_peer_addresses or tuple(one.peer_address for one in cluster.nodes if one != node)
    faults = []
    for address in addresses:
        try:
            ipaddress.ip_network(address, strict=False)
        except ValueError:
            faults.append(Fault(address, "is a name: a packet filter knows addresses only"))
    if faults:
        raise knobs.RefusedError(
            "the firewall cannot let the site's nodes in, nothing was changed",
            faults,
            hint="give nodes IP addresses in the cluster document, or name their network in firewall_peer_addresses",
        )
    return {"peers": addresses, "peer_ports": settings.firewall_peer_ports}


def is_there() -> bool:
    """Whether a deploy put it on this machine."""
    return bool(host.get_fact(Existing, paths=(RULES, OUR_UNIT)))


@deploy("firewall")
def remove() -> None:
    """Take away what `install` put."""
    settings = knobs.read(Firewall, host)
    service_absent(name="Look after the rules no more", unit=TIMER)
    table_absent(name="Let everything in again")
    absent(name="Remove the rules", paths=[RULES, f"{RULES}.new"])
    recorded_files_absent(name="Remove the units", role=ROLE, legacy=[*OUR_FILES])
    empty_folders_absent(name="Remove an empty folder", paths=["/etc/shoal"])
    recorded_packages_absent(name="Remove nftables", role=ROLE, _timeout=settings.firewall_apt_timeout_s)
