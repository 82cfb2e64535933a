"""Role `firewall`: nothing from outside but SSH on the management address; the mesh is inside."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.common import knobs
from roles.common.operations import (
    absent,
    empty_folders_absent,
    packages,
    recorded_packages_absent,
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

PACKAGE = "nftables"
OUR_UNIT = f"/etc/systemd/system/{UNIT}"


@deploy("firewall")
def install() -> None:
    """The program, the unit for every boot, then the rules, which have to prove themselves."""
    settings = knobs.read(Firewall, host)
    node = knobs.node_of(host)
    packages(name="Install nftables", names=[PACKAGE], role="firewall", _timeout=settings.firewall_apt_timeout_s)
    unit = (FILES / "firewall.service").read_text(encoding="utf-8")
    text_file(name="Write the unit", path=OUR_UNIT, content=unit)
    interfaces = machine_addresses()
    openings = Openings(
        mesh_interface=settings.firewall_mesh_interface,
        ssh_ports=settings.firewall_ssh_ports or sshd_ports(),
        management=management(settings.firewall_management_addresses, node.first_address or node.address, interfaces),
        container_interfaces=settings.firewall_container_interfaces,
        ping=settings.firewall_ping,
        direct_udp_port=settings.firewall_direct_udp_port,
    )
    in_force(
        name="Let nothing in but SSH and the mesh",
        openings=openings,
        own=own_connection(interfaces),
        rollback_s=settings.firewall_rollback_s,
    )


@deploy("firewall")
def remove() -> None:
    """Take away what `install` put."""
    settings = knobs.read(Firewall, host)
    table_absent(name="Let everything in again")
    absent(name="Remove the rules and the unit", paths=[RULES, f"{RULES}.new", OUR_UNIT])
    empty_folders_absent(name="Remove an empty folder", paths=["/etc/shoal"])
    recorded_packages_absent(name="Remove nftables", role="firewall", _timeout=settings.firewall_apt_timeout_s)
