"""Who listens on a machine, and which ports a deploy is going to open there, said before the first change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra.context import host

from roles.common.addresses import authority
from roles.common.facts import NodeFact
from roles.common.notes import will

_LISTEN = re.compile(
    r"^LISTEN\s+\d+\s+\d+\s+(?P<address>\S+):(?P<port>[0-9]{1,5})\s+\S+"
    r'(?:\s+users:\(\("(?P<process>[^"]*)",pid=(?P<pid>[0-9]{1,10}))?'
)


@dataclass(frozen=True, slots=True)
class Listener:
    """One TCP port that a process listens on."""

    address: str
    """`*`, `0.0.0.0` and `::` stand for every address."""
    port: int
    process: str
    """Empty where the machine does not say, as to a container's root."""
    pid: int


def listeners_of(lines: Sequence[str]) -> tuple[Listener, ...]:
    """Those in lines of `ss -Hltnp`; other lines are passed over."""
    return tuple(
        Listener(
            match["address"].partition("%")[0].strip("[]"),
            int(match["port"]),
            match["process"] or "",
            int(match["pid"] or 0),
        )
        for line in lines
        if (match := _LISTEN.match(line))
    )


class Listeners(NodeFact[tuple[Listener, ...]]):
    """Who listens for TCP on the machine, by `ss`, which a machine may lack."""

    def command(self) -> str:
        """With the processes, which root alone sees."""
        return "ss -Hltnp 2>/dev/null || true"

    @staticmethod
    def default() -> tuple[Listener, ...]:
        """Nobody."""
        return ()

    def read(self, output: list[str]) -> tuple[Listener, ...]:
        """See `listeners_of`."""
        return listeners_of(output)


def will_listen(places: Sequence[tuple[str, int, str]]) -> None:
    """Say which of the places (address, TCP port, what listens there) no program listens at yet."""
    if host.state.is_executing:
        return
    ports = {listener.port for listener in host.get_fact(Listeners)}
    for address, port, what in places:
        if port not in ports:
            reach = "on this machine alone" if address in {"127.0.0.1", "::1"} else "for the network"
            will(f"open TCP port {authority(address, port)} {reach}: {what}")
