"""Whether the site's registry has its ports, and whose registry is on the machine already: pure functions of a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from roles.common.listen import Listener, listeners_of

_ANY = frozenset({"*", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound


@dataclass(frozen=True, slots=True)
class Look:
    """What files/look.sh found."""

    listeners: tuple[Listener, ...] = ()
    ours: frozenset[int] = frozenset()
    """Processes of the registry's services that are ours."""


def look_of(lines: Sequence[str]) -> Look:
    """Lines `ours PID` and those of `ss -Hltnp`. Others are passed over."""
    ours = {int(line[5:]) for line in lines if line.startswith("ours ") and line[5:].strip().isdecimal()}
    return Look(listeners_of(lines), frozenset(ours - {0}))


def port_faults(look: Look, wanted: Sequence[tuple[str, int]]) -> list[str]:
    """Which of the wanted addresses and ports somebody else has, each a sentence that says what to do."""
    found = []
    for address, port in wanted:
        for other in look.listeners:
            here = other.address in _ANY or address in _ANY or other.address == address
            # Without the right to look into other users' processes (a container's root) a listener has no name;
            # services of ours that run have their ports.
            mine = other.pid in look.ours or (not other.pid and bool(look.ours))
            if other.port == port and here and not mine:
                whom = f"{other.process} (process {other.pid})" if other.process else "another program"
                found.append(
                    f"port {port} at {address} is {whom}'s, which stays: give the site's registry another one "
                    f"(registry_port, docker_site_registry_port and yolov5_registry_port are one number, "
                    "registry_write_port is another)"
                )
                break
    return found
