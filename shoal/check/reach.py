"""Tries the way from every machine to the requester's ports, with listeners there for what does not run yet.

A port without a listener says nothing: a refused connection may come from the machine or from a firewall. The listeners
take connections and close them, for as long as the look lasts, and only where nothing of anybody's listens.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from shoal.check import session
from shoal.check.answer import UnreadableError
from shoal.check.facts import Facts
from shoal.check.plan import NodePlan, Port
from shoal.check.program import new_mark
from shoal.check.rules.network import Reach
from shoal.cluster.document import Cluster, Node
from shoal.errors import ShoalError
from shoal.ssh import client as ssh

PROBE_LIMIT_S = 5
READY_LIMIT_S = 15.0
LISTEN_LIMIT_S = 90
"""The listeners end by themselves, should the connection to them be lost without a word."""

_LISTEN = (Path(__file__).parent / "listen.pl").read_text(encoding="utf-8")
_PROBE = (Path(__file__).parent / "probe.sh").read_text(encoding="utf-8")


def probe(cluster: Cluster, facts: Mapping[str, Facts], plans: Mapping[str, NodePlan]) -> dict[tuple[str, int], Reach]:
    """What became of a connection from each machine of `plans` to each port of the requester, by machine and port."""
    requester = cluster.requester
    ports = _ports(plans)
    nodes = [cluster.node(name) for name in plans if name in facts and name != requester.name]
    if not ports or not nodes:
        return {}
    here = facts.get(requester.name)
    free = [port for port in ports if here and not any(it.port == port.port for it in here.listeners)]
    try:
        with _listeners(cluster, requester, free if here else ()):
            return _from_each(cluster, nodes, ports)
    except ShoalError:
        # The way to the requester was lost meanwhile, or it has no perl: what listens there already is still known.
        return _from_each(cluster, nodes, [port for port in ports if port not in free])


def read_probe(text: str, mark: str) -> dict[int, Reach]:
    """The machine's own words on each port."""
    found = {}
    for row in text.splitlines():
        words = row.split(" ", 3)
        if len(words) < 3 or words[0] != mark or not re.fullmatch("[0-9]{1,5}", words[1]):
            continue
        said = words[3] if len(words) == 4 else ""
        if words[2] == "0":
            how = Reach.OPEN
        elif "refused" in said:
            how = Reach.REFUSED
        elif "No route to host" in said or "unreachable" in said:
            how = Reach.UNROUTED
        elif "Name or service not known" in said or "name resolution" in said or "No address associated" in said:
            how = Reach.NAMELESS
        elif words[2] in {"124", "137"} or "timed out" in said:
            how = Reach.SILENT
        else:
            how = Reach.UNKNOWN
        found[int(words[1])] = how
    return found


def _ports(plans: Mapping[str, NodePlan]) -> list[Port]:
    """Those of the requester's ports that others have to reach, whether it is among `plans` or not."""
    for plan in plans.values():
        if plan.requester_ports:
            return [port for port in plan.requester_ports if port.for_nodes]
    return []


def _from_each(cluster: Cluster, nodes: Sequence[Node], ports: Sequence[Port]) -> dict[tuple[str, int], Reach]:
    address = cluster.requester.peer_address

    def act(node: Node) -> dict[int, Reach]:
        mark = new_mark()
        pairs = " ".join(f"{address} {port.port}" for port in ports)  # an address holds no blank and no quote
        script = f"MARK={mark} LIMIT_S={PROBE_LIMIT_S}\nset -- {pairs}\n{_PROBE}"
        limit_s = 20.0 + PROBE_LIMIT_S * len(ports)
        said = session.as_user(cluster, node, ("sh", "-c", 'eval "$(cat)"'), script.encode(), timeout_s=limit_s)
        return read_probe(said.output.decode(errors="replace"), mark)

    found: dict[tuple[str, int], Reach] = {}
    for name, answer in ssh.on_each(nodes, act).items():
        for port in ports:
            how = answer.get(port.port, Reach.UNKNOWN) if isinstance(answer, dict) else Reach.UNKNOWN
            found[name, port.port] = how
    return found


@contextmanager
def _listeners(cluster: Cluster, requester: Node, ports: Sequence[Port]) -> Iterator[None]:
    """Listeners on the requester for as long as the block lasts. Raises ShoalError where they do not come up."""
    if not ports:
        yield
        return
    mark = new_mark()
    pairs = [word for port in ports for word in (port.address, str(port.port))]
    command = ("sh", "-c", f'LISTEN=$(head -c {len(_LISTEN)}); exec perl -e "$LISTEN" "$@"', "listen", mark)
    with (
        session.fed(_LISTEN.encode(), hold_open=True) as feed,
        ssh.piped(cluster, requester, *command, str(LISTEN_LIMIT_S), *pairs, stdin=feed.source) as output,
    ):
        _await(output, f"{mark} ready")
        yield
        feed.end.set()


def _await(output: IO[bytes], line: str) -> None:
    deadline, seen = time.monotonic() + READY_LIMIT_S, b""
    while line.encode() not in seen:
        ready, _, _ = select.select([output], [], [], max(deadline - time.monotonic(), 0))
        chunk = os.read(output.fileno(), 4096) if ready else b""
        if not chunk or len(seen) > 1 << 16:
            raise UnreadableError("its listeners did not come up")
        seen += chunk
