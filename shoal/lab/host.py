"""Facts about this machine that a lab depends on: routes, uplink, nameservers, distribution."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

ROUTES = Path("/proc/net/route")
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True)
class Route:
    """One IPv4 route: the interface and the range it leads to."""

    interface: str
    network: ipaddress.IPv4Network


def parse_routes(text: str) -> list[Route]:
    """The routes in the kernel's /proc/net/route, whose addresses are little-endian hex."""
    routes = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        destination = socket.inet_ntoa(struct.pack("<L", int(fields[1], 16)))
        mask = socket.inet_ntoa(struct.pack("<L", int(fields[7], 16)))
        routes.append(Route(fields[0], ipaddress.IPv4Network(f"{destination}/{mask}")))
    return routes


def routes() -> list[Route]:
    """This machine's IPv4 routes."""
    return parse_routes(ROUTES.read_text(encoding="ascii")) if ROUTES.exists() else []


def uplink() -> str | None:
    """The interface of the default route, if there is one."""
    return next((route.interface for route in routes() if route.network.prefixlen == 0), None)


def mtu(interface: str | None) -> int:
    """The interface's largest packet in bytes; a bigger one inside the lab would be lost on its way out."""
    path = Path(f"/sys/class/net/{interface}/mtu")
    return int(path.read_text(encoding="ascii")) if interface and path.exists() else DEFAULT_MTU


def parse_nameservers(text: str) -> list[str]:
    """IPv4 nameservers of a resolv.conf that containers can reach: loopback ones answer on this machine only."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = ipaddress.ip_address(words[1].partition("%")[0])
        except ValueError:
            continue
        if address.version == 4 and not address.is_loopback and str(address) not in found:
            found.append(str(address))
    return found


def nameservers() -> list[str]:
    """Nameservers to hand to inner engines; behind a local stub (systemd-resolved) the ones it asks. May be empty."""
    for path in RESOLVERS:
        if path.exists() and (found := parse_nameservers(path.read_text(encoding="utf-8", errors="replace"))):
            return found
    return []


def os_release(path: Path = Path("/etc/os-release")) -> dict[str, str]:
    """Fields of os-release (`ID`, `VERSION_CODENAME`, ...); empty where there is none."""
    if not path.exists():
        return {}
    pairs = (line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines() if "=" in line)
    return {key: value.strip().strip("\"'") for key, value in pairs}
