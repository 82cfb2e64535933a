"""Every knob of role `firewall`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from shoal.errors import Fault


@dataclass(frozen=True)
class Firewall:
    """Set as host or group data under the same names."""

    firewall_mesh_interface: str = "tailscale0"
    """Everything that comes in by it is let in: the tailnet's own policy says who may come."""
    firewall_management_addresses: tuple[str, ...] = ()
    """Addresses of the machine where SSH is let in from outside. Empty: its first address where the machine has that
    itself, else all of its addresses (behind a translated address it cannot know which)."""
    firewall_ssh_ports: tuple[int, ...] = ()
    """Ports of SSH. Empty: those that sshd is set to."""
    firewall_ping: bool = True
    """Whether the machine answers to ping from outside."""
    firewall_direct_udp_port: int = 0
    """UDP port of direct mesh traffic to be let in from outside. 0: none; peers then find each other through replies
    and a relay, and nothing at all listens for the outside."""
    firewall_container_interfaces: tuple[str, ...] = ("docker0", "br-*")
    """Bridges of the container engine: published ports stay reachable from them, and from the mesh, but not from
    outside. A star may stand at the end."""
    firewall_peer_addresses: tuple[str, ...] = ()
    """Without the mesh: addresses or networks (10.0.0.0/24) that nodes come from. Empty: their addresses in the cluster
    document."""
    firewall_peer_ports: tuple[int, ...] = (4222, 5000)
    """Without the mesh: the requester's ports for its nodes (`bacalhau_nats_port`, `registry_port`)."""
    firewall_rollback_s: int = 45
    """A new rule set takes itself back after this time, unless a new login has come through it by then."""
    firewall_apt_timeout_s: int = 600
    """How long installing nftables may take before the deploy gives up."""

    def faults(self) -> list[Fault]:
        """What no single field shows."""
        found = []
        for name in (self.firewall_mesh_interface, *self.firewall_container_interfaces):
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,14}(\*|[A-Za-z0-9_.-])", name):
                found.append(Fault("firewall interfaces", f"{name!r} is not an interface's name"))
        for address in self.firewall_management_addresses:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                found.append(Fault("firewall_management_addresses", f"{address!r} is not an IP address"))
        for address in self.firewall_peer_addresses:
            try:
                ipaddress.ip_network(address, strict=False)
            except ValueError:
                found.append(Fault("firewall_peer_addresses", f"{address!r} is neither an IP address nor a network"))
        if bad := [port for port in self.firewall_peer_ports if not 1 <= port <= 65535]:
            found.append(Fault("firewall_peer_ports", f"not ports: {', '.join(map(str, bad))}"))
        if bad := [port for port in self.firewall_ssh_ports if not 1 <= port <= 65535]:
            found.append(Fault("firewall_ssh_ports", f"not ports: {', '.join(map(str, bad))}"))
        if not 0 <= self.firewall_direct_udp_port <= 65535:
            found.append(Fault("firewall_direct_udp_port", f"is not a port (found {self.firewall_direct_udp_port})"))
        if not 15 <= self.firewall_rollback_s <= 600:
            found.append(Fault("firewall_rollback_s", "must be 15 to 600: a login needs some of it"))
        return found
