"""The rule set as text, and whether it would cut the connection that brings it: pure functions."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

TABLE = "inet shoal_firewall"
"""Ours alone; no other table is read or touched."""
LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class Openings:
    """What is let in from outside, and which interfaces are not outside."""

    mesh_interface: str
    ssh_ports: tuple[int, ...]
    management: tuple[str, ...]
    """Addresses at which SSH is let in; empty: at every address of the machine."""
    container_interfaces: tuple[str, ...] = ("docker0", "br-*")
    ping: bool = True
    direct_udp_port: int = 0
    peers: tuple[str, ...] = ()
    """Addresses and networks of the site's other nodes, where they reach this one without a mesh ..."""
    peer_ports: tuple[int, ...] = ()
    """... and the TCP ports that they are let in to."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The deploy's own SSH connection, as the machine sees it."""

    server_address: str
    server_port: int
    interface: str | None


def text(openings: Openings) -> str:
    """The file for `nft -f`: one transaction, replaces our table, and carries its own hash as the name of a chain."""
    body = _body(openings)
    return (
        "# Written by shoal's role `firewall`; changes are overwritten.\n"
        f"table {TABLE}\ndelete table {TABLE}\n"
        f"table {TABLE} {{\n{body}\n\tchain {stamp(openings)} {{\n\t}}\n}}\n"
    )


def stamp(openings: Openings) -> str:
    """The name of an empty chain that identifies the rule set in the kernel."""
    return f"set_{hashlib.sha256(_body(openings).encode()).hexdigest()[:12]}"


def refusal(openings: Openings, connection: Connection | None) -> str | None:
    """Why these rules would cut the connection they come by; None where they let a new one like it in."""
    if connection is None:
        return None  # not over SSH: nothing to be cut
    if connection.interface in (openings.mesh_interface, LOOPBACK):
        return None
    if connection.server_port not in openings.ssh_ports:
        ports = ", ".join(map(str, openings.ssh_ports))
        return f"this connection comes in at port {connection.server_port}, and SSH would be let in at {ports} only"
    if openings.management and connection.server_address not in openings.management:
        return (
            f"this connection comes in at {connection.server_address}, and SSH would be let in at "
            f"{', '.join(openings.management)} only"
        )
    return None


def is_port(text: str) -> bool:
    """Whether `text`, of a machine, is a port's number."""
    return text.isascii() and text.isdigit() and len(text) <= len("65535") and 0 < int(text) < 1 << 16


def connection(ssh_connection: str, interfaces: dict[str, str]) -> Connection | None:
    """From the variable SSH_CONNECTION (`client port server port`) and the machine's addresses by interface."""
    words = ssh_connection.split()
    if len(words) != 4 or not is_port(words[3]):
        return None
    address = words[2].partition("%")[0].removeprefix("::ffff:")
    return Connection(address, int(words[3]), interfaces.get(address))


def management(chosen: tuple[str, ...], first_address: str, interfaces: dict[str, str]) -> tuple[str, ...]:
    """Where SSH is let in: as chosen, else at the first address where it is one of the machine's own."""
    if chosen:
        return chosen
    return (first_address,) if first_address in interfaces else ()


def _body(openings: Openings) -> str:
    containers = [f'iifname "{name}" accept' for name in openings.container_interfaces]
    incoming = [
        "type filter hook input priority filter; policy drop;",
        "ct state established,related accept",
        "ct state invalid drop",
        f'iifname {{ "{LOOPBACK}", "{openings.mesh_interface}" }} accept',
        *_ssh(openings),
        *_peers(openings),
        # Packets from the mesh's addresses are accepted on the mesh's interface only.
        "ip saddr 100.64.0.0/10 drop",
        "ip6 saddr fd7a:115c:a1e0::/48 drop",
        # Docker's own names only: its published ports never come by here.
        *containers[:1],
        *(["icmp type echo-request accept", "icmpv6 type echo-request accept"] if openings.ping else []),
        # Without these IPv6 does not work at all, and an address from DHCP is lost when its time is over.
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, nd-redirect } accept",
        "udp sport 67 udp dport 68 accept",
        "ip6 saddr fe80::/10 udp dport 546 accept",
        *([f"udp dport {openings.direct_udp_port} accept"] if openings.direct_udp_port else []),
    ]
    # The engine publishes ports before `input` is asked. Its own rules stay as they are; only what comes from outside
    # to a published port ends here.
    forwarded = [
        "type filter hook forward priority filter - 5; policy accept;",
        "ct state established,related accept",
        f'iifname "{openings.mesh_interface}" accept',
        *containers,
        "ct status dnat drop",
    ]
    return "\n".join(
        line for name, rules in (("input", incoming), ("forward", forwarded)) for line in _chain(name, rules)
    )


def _ssh(openings: Openings) -> list[str]:
    ports = f"tcp dport {{ {', '.join(map(str, sorted(openings.ssh_ports)))} }}"
    if not openings.management:
        return [f"{ports} accept"]
    return [
        f"{'ip6' if ipaddress.ip_address(address).version == 6 else 'ip'} daddr {address} {ports} accept"
        for address in openings.management
    ]


def _peers(openings: Openings) -> list[str]:
    """Rules for the site's own nodes, by address family."""
    if not openings.peer_ports:
        return []
    ports = f"tcp dport {{ {', '.join(map(str, sorted(openings.peer_ports)))} }}"
    found = []
    for version, family in ((4, "ip"), (6, "ip6")):
        if ours := sorted(
            each for each in openings.peers if ipaddress.ip_network(each, strict=False).version == version
        ):
            found.append(f"{family} saddr {{ {', '.join(ours)} }} {ports} accept")
    return found


def _chain(name: str, rules: list[str]) -> list[str]:
    return [f"\tchain {name} {{", *(f"\t\t{rule}" for rule in rules), "\t}"]
