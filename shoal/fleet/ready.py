"""Nodes that the orchestrator counts as its own: waited for after a deploy, and never newer than it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from packaging.version import InvalidVersion, Version

from shoal.cluster.document import Cluster, Node
from shoal.engines.bacalhau import connect, secrets
from shoal.engines.bacalhau.client import BacalhauClient, EngineSilentError
from shoal.engines.bacalhau.models import EngineNode, by_name
from shoal.engines.choice import Choice
from shoal.errors import ShoalError, UsageError
from shoal.run import preflight
from shoal.ssh import client as ssh
from shoal.telling import Say
from shoal.waiting import looks

POLL_S = 2.0
READY_TIMEOUT_S = 120.0


def refuse_newer_engine(cluster: Cluster, names: Collection[str], choice: Choice) -> None:
    """Raise UsageError where a deploy of `names` would place a newer program than the orchestrator's.

    With the requester among them the orchestrator is deployed first. One that does not answer is left to the deploy,
    which shows it each node's token before it places anything.
    """
    archs = {cluster.node(name).arch for name in names}
    if choice.engine != "bacalhau" or cluster.requester.name in names or secrets.load(cluster.name) is None:
        return
    try:
        with connect.client_for(cluster) as client:
            theirs = client.version().removeprefix("v")
    except EngineSilentError:
        return
    for ours in [binary.version for binary in choice.binaries if binary.arch in archs]:
        if (here := _version(ours)) and (there := _version(theirs)) and here > there:
            raise UsageError(
                f"the engine's program here is {ours}, the orchestrator on {cluster.requester.name} is {theirs}: "
                "a node must not be newer; nothing was done",
                hint="`shoal site deploy` brings the whole site to it, the orchestrator first",
            )


def await_ready(cluster: Cluster, names: Sequence[str], say: Say) -> None:
    """Wait until the orchestrator would give those of `names` a job that compute and are not drained.

    Raises ShoalError, naming the node, where that does not come about, or the orchestrator knows other tokens.
    """
    asked = [node for node in cluster.compute if node.name in names]
    drained = ssh.on_each(asked, lambda node: preflight.is_drained(cluster, node))
    nodes = [node for node in asked if drained[node.name] is not True]
    if nodes:
        with connect.client_for(cluster) as client:
            for node in nodes:
                _await(client, node, say)


def _version(text: str) -> Version | None:
    """A program's version; None of one that has none, as of a program that was built without.

    A release candidate is older than its release (PEP 440); a suffix that is no part of a version counts for nothing.
    """
    for candidate in (text, text.partition("-")[0]):
        try:
            found = Version(candidate)
        except InvalidVersion:
            continue
        return found if any(found.release) else None
    return None


def _await(client: BacalhauClient, node: Node, say: Say) -> None:
    """Until the orchestrator would give the node a job."""
    for look in looks(POLL_S, timeout_s=READY_TIMEOUT_S):
        there: EngineNode | None = None
        try:
            there = by_name(client.nodes()).get(node.name)
            why = there.unfit() if there else "it never came to the orchestrator"
        except EngineSilentError as error:
            why = error.message
        if why is None:
            say(f"{node.name}: connected, approved, Docker and local paths there")
            return
        if there and there.connected and not there.approved:
            say(f"{node.name}: {why}; `shoal nodes approve {node.name}` lets it take jobs")
            return
        if look.last:
            raise ShoalError(
                f"{node.name} is deployed, and the orchestrator would give it no job: {why}",
                hint="see `journalctl -u bacalhau-compute` there",
            )
