"""Which addresses a Go program asks past its proxy: the rules of golang.org/x/net/http/httpproxy (config.go)."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

MAX_ENTRIES = 500
Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def excepted(host: str, port: int, no_proxy: str) -> bool:
    """Whether `host:port` is reached directly with this NO_PROXY.

    Entries are `*`, an IP address, a CIDR range, or a domain: `example.org` means itself and what is under it,
    `.example.org` what is under it alone; each may have a port. Loopback addresses are never proxied. `host` is
    compared as it is written: a name is not looked up, so that an IP address in the list does not match it.
    """
    host = host.lower().strip("[]")
    literal = _ip(host)
    if host == "localhost" or (literal is not None and literal.is_loopback):
        return True
    return any(_matches(entry.strip().lower(), host, literal, port) for entry in no_proxy.split(",")[:MAX_ENTRIES])


def _matches(entry: str, host: str, literal: Ip | None, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return literal is not None and _in_range(literal, entry)
    name, wanted_port = _split(entry)
    if not name or (wanted_port and wanted_port != str(port)):
        return False
    if (address := _ip(name)) is not None or literal is not None:
        return literal == address
    name = name.removeprefix("*")
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _in_range(address: Ip, text: str) -> bool:
    try:
        return address in ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False


def _split(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _ip(text: str) -> Ip | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
