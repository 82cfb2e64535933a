"""The orchestrator's list of nodes: who may take jobs, and who is forgotten.

The engine takes the id that it is to approve or delete for the beginning of one, and prefers no exact one: with
`gate-1` and `gate-10` on its list it does neither for `gate-1`; without `gate-1` it would do it to `gate-10`. No id
that shoal gives begins another one (`shoal.cluster.engine_id`), but nodes that were deployed before have their names as
ids. So an id is given to the engine only where it is on the list, and alone with that beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shoal.cluster.document import Cluster
from shoal.engines.bacalhau import connect
from shoal.engines.bacalhau.client import AMBIGUOUS, DONE_BEFORE, BacalhauClient, EngineError
from shoal.engines.bacalhau.models import EngineNode, by_name
from shoal.errors import Fault, ShoalError, UsageError
from shoal.telling import Say
from shoal.waiting import looks

POLL_S = 1.0
BACK_TIMEOUT_S = 120.0
"""What a node that was taken off the list for a moment gets to be on it again; it asks several times a minute."""


@dataclass(slots=True)
class Forgotten:
    """What became of names that the orchestrator was to forget."""

    names: list[str] = field(default_factory=list)
    """Those that it knew and has forgotten."""
    left: dict[str, str] = field(default_factory=dict)
    """Those that stay on its list, and why."""


def forget(cluster: Cluster, names: Sequence[str]) -> Forgotten:
    """Have the orchestrator forget the nodes. Raises EngineError where it does not answer, or refuses our key.

    An id with which another one on its list begins is left: an old entry, disconnected, which gets no job.
    """
    done = Forgotten()
    with connect.client_for(cluster) as client:
        known = {node.id: node for node in client.nodes()}
        forgotten = set[str]()
        # The longest first: what begins with an id is gone by then, if it is to go at all.
        for node in sorted((one for one in known.values() if one.name in names), key=lambda one: -len(one.id)):
            longer = [other.name for other in _longer(node, known.values())]
            try:
                if not longer:
                    client.act(node.id, "delete", "removed by shoal")
                    del known[node.id]
                    forgotten.add(node.name)
                    continue
            except EngineError as error:
                if error.code != AMBIGUOUS:
                    raise
                longer = ["another one"]  # that has come meanwhile
            done.left[node.name] = (
                f"the engine cannot tell it from {', '.join(longer)}, which begins with it: "
                "an old entry stays on its list, which gets no job and does no harm"
            )
    done.names = [name for name in names if name in forgotten]
    return done


def approve(cluster: Cluster, names: Sequence[str], say: Say) -> None:
    """Let nodes that wait for approval take jobs. One that is approved already is no error.

    Nodes that begin with such a name and wait for approval themselves are taken off the list for a moment: they have
    no work, and come back by themselves. Raises UsageError, with nothing done, for a name that is not on the list and
    where one that begins with it may have work.
    """
    with connect.client_for(cluster) as client:
        _refuse(cluster, names, by_name(client.nodes()))
        away: set[str] = set()
        # The shortest first: its longer ones are not approved yet.
        for name in sorted(dict.fromkeys(names), key=len):
            away |= _approve(cluster, client, name, say)
            say(f"{name}: approved")
        _await_back(client, away, say)


def _refuse(cluster: Cluster, names: Sequence[str], known: Mapping[str, EngineNode]) -> None:
    """Raise UsageError where one of `names` cannot be approved."""
    if strangers := [name for name in names if name not in known]:
        raise UsageError(
            f"the orchestrator has no node called {', '.join(strangers)}; no node was approved",
            hint="`shoal nodes list` shows those it has; one that was just deployed takes some seconds to come to it",
        )
    kept = [
        (name, other.name, why)
        for name in names
        if not known[name].approved
        for other in _longer(known[name], known.values())
        if (why := _keeps(cluster, other))
    ]
    if kept:
        first = kept[0][1]
        raise UsageError(
            "the engine takes a name for the beginning of one; no node was approved",
            faults=tuple(
                Fault(name, f"cannot be distinguished from {other}, which {why}") for name, other, why in kept
            ),
            hint=f"`shoal nodes remove {first}`, then approve, then add and approve {first} again; "
            "or name the new node so that no other name begins with its own",
        )


def _keeps(cluster: Cluster, node: EngineNode) -> str | None:
    """Why a node may not be taken off the list for a moment; None where nothing is lost by it."""
    if not node.computes:
        return None  # the orchestrator's own entry, which nothing depends on
    if node.membership == "REJECTED":
        return "was rejected, and would be let in again"
    if node.approved and any(node.name == one.name for one in cluster.nodes):
        return "is approved and may have work"
    if node.approved and node.connected:
        return "is approved and connected"
    return None


def _approve(cluster: Cluster, client: BacalhauClient, name: str, say: Say) -> set[str]:
    """Approve one node; gives those that were taken off the list for it and come back."""
    away = set[str]()
    for look in looks(POLL_S, timeout_s=BACK_TIMEOUT_S):
        known = by_name(client.nodes())
        if name in known:
            if known[name].approved:
                return away
            _refuse(cluster, [name], known)
            for other in sorted(_longer(known[name], known.values()), key=lambda one: -len(one.id)):
                _put_aside(client, other, say)
                away |= {other.name} if other.connected and other.computes else set()
            try:
                client.act(known[name].id, "approve", "approved by shoal")
            except EngineError as error:
                if error.code == DONE_BEFORE:
                    return away
                if error.code != AMBIGUOUS:  # else one of them was back already
                    raise
            else:
                return away
        if look.last:
            raise ShoalError(
                f"{name} was not approved: it, or nodes that begin with its name, came and went on the orchestrator's "
                "list",
                hint="see `shoal nodes list`, and type it again",
            )
    raise AssertionError("the last look returns or raises")


def _put_aside(client: BacalhauClient, node: EngineNode, say: Say) -> None:
    client.act(node.id, "delete", "put aside by shoal to approve another")
    if not node.computes:
        say(f"{node.name}: off the orchestrator's list until its service starts again; nothing depends on it")
    elif node.connected:
        say(f"{node.name}: off the orchestrator's list for a moment, until it asks again")
    else:
        say(f"{node.name}: off the orchestrator's list; it is away, and waits for approval when it comes back")


def _await_back(client: BacalhauClient, names: set[str], say: Say) -> None:
    """Until all of `names` are on the list again. Raises ShoalError at the deadline."""
    for look in looks(POLL_S, timeout_s=BACK_TIMEOUT_S):
        lacking = names - {node.name for node in client.nodes()}
        if not lacking:
            break
        if look.last:
            raise ShoalError(
                f"not on the orchestrator's list again: {', '.join(sorted(lacking))}; the others are approved",
                hint="see `journalctl -u bacalhau-compute` there; its service asks the orchestrator by itself",
            )
    for node in client.nodes():
        if node.name in names and not node.approved:
            say(f"{node.name}: waits for approval, as before")


def _longer(node: EngineNode, known: Iterable[EngineNode]) -> list[EngineNode]:
    """The other nodes whose ids begin with that of `node`."""
    others = (other for other in known if other.id != node.id and other.id.startswith(node.id))
    return sorted(others, key=lambda other: other.id)
