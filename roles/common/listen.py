"""Which ports a deploy is going to open on a machine, said before the first change."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.context import host

from roles.common.addresses import authority
from roles.common.facts import Lines
from roles.common.notes import will

LOOK = "ss -Hltn 2>/dev/null | awk '{ print $4 }' || true"


def will_listen(places: Sequence[tuple[str, int, str]]) -> None:
    """Say which of the places (address, TCP port, what listens there) no program listens at yet."""
    if host.state.is_executing:
        return
    ports = {line.rpartition(":")[2] for line in host.get_fact(Lines, script=LOOK)}
    for address, port, what in places:
        if str(port) not in ports:
            reach = "on this machine alone" if address in {"127.0.0.1", "::1"} else "for the network"
            will(f"open TCP port {authority(address, port)} {reach}: {what}")
