"""Whether the site's registry has its ports, and whose registry is on the machine already: pure functions of a look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ANY = frozenset({"*", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound
_LISTEN = re.compile(
    r'^LISTEN\s+\d+\s+\d+\s+(?P<address>\S+):(?P<port>\d+)\s+\S+(?:\s+users:\(\("(?P<name>[^"]*)",pid=(?P<pid>\d+))?'
)


@dataclass(frozen=True, slots=True)
class Listener:
    """One TCP port that a process listens on."""

    address: str
    """`*`, `0.0.0.0` and `::` stand for every address."""
    port: int
    process: str
    pid: int


@dataclass(frozen=True, slots=True)
class Look:
    """What files/look.sh found."""

    listeners: tuple[Listener, ...] = ()
    ours: frozenset[int] = frozenset()
    """Processes of the registry's services that are ours."""


def look_of(lines: Sequence[str]) -> Look:
    """Lines `ours PID` and those of `ss -Hltnp`. Others are passed over."""
    listeners = []
    ours = set()
    for line in lines:
        if match := _LISTEN.match(line):
            address = match["address"].partition("%")[0].strip("[]")
            listeners.append(Listener(address, int(match["port"]), match["name"] or "", int(match["pid"] or 0)))
        elif line.startswith("ours ") and line[5:].strip().isdigit():
            ours.add(int(line[5:]))
    return Look(tuple(listeners), frozenset(ours - {0}))


def port_faults(look: Look, wanted: Sequence[tuple[str, int]]) -> list[str]:
    """Which of the wanted addresses and ports somebody else has, each a sentence that says what to do."""
    found = []
    for address, port in wanted:
        for other in look.listeners:
            here = other.address in _ANY or address in _ANY or other.address == address
            if other.port == port and here and other.pid not in look.ours:
                whom = f"{other.process} (process {other.pid})" if other.process else "another program"
                found.append(
                    f"port {port} at {address} is {whom}'s, which stays: give the site's registry another one "
                    f"(registry_port, docker_site_registry_port and yolov5_registry_port are one number, "
                    "registry_write_port is another)"
                )
                break
    return found
