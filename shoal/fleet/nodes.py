"""The life of a cluster's nodes: seen by the engine or not, added, drained, removed.

How work is taken off them: `shoal.fleet.drain`. Who is approved, and who is forgotten: `shoal.fleet.engine_list`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shoal.cluster.document import Cluster, Node
from shoal.engines.bacalhau import connect
from shoal.engines.bacalhau.models import EngineNode, by_name
from shoal.errors import ShoalError, UsageError
from shoal.fleet import drain as draining
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.telling import Say


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node of the cluster document, as its machine and the engine show it."""

    name: str
    roles: tuple[str, ...]
    address: str
    ssh: str
    """`answers`, or why not."""
    engine: str
    """`connected`, `disconnected`, `pending`, `unknown` to the orchestrator, or why it cannot be asked."""
    version: str = ""
    drained: bool = False
    serving: bool = False
    containers: int = 0
    """Of jobs, running now."""
    docker_fault: str = ""
    """Why Docker, which is there, does not tell what runs."""
    cpu: float = 0.0
    """CPUs that the engine gives out there."""
    memory_bytes: int = 0
    kept_images: dict[str, int] = field(default_factory=dict)
    """Size in bytes of the image that is kept there for a run that is not finished, by the run; 0 where it is gone."""


def look(cluster: Cluster) -> list[NodeState]:
    """Every node of the document, and nodes that only the orchestrator knows."""
    known, silence = _engine_nodes(cluster)
    machines = ssh.on_each(cluster.nodes, lambda node: draining.look(cluster, node))
    found = [_state(node, machines[node.name], known.pop(node.name, None), silence) for node in cluster.nodes]
    strangers = [
        NodeState(node.name, (), "", "is not in the cluster document", _engine_word(node), _version(node))
        for node in known.values()
        if node.computes
    ]
    return [*found, *strangers]


def drain(cluster: Cluster, names: Sequence[str], say: Say, *, timeout_s: float) -> None:
    """Give the nodes no new run, wait until nothing runs on them, then stop their engine services.

    A machine or an orchestrator that does not answer is asked again. Raises UsageError for a requester,
    StillAtWorkError where work is still going on when the time is over, and ShoalError where nobody can tell by then;
    the mark stays, the service runs on.
    """
    draining.drain_machines(cluster, [compute_node(cluster, name) for name in names], say, timeout_s=timeout_s)


def _engine_nodes(cluster: Cluster) -> tuple[dict[str, EngineNode], str]:
    """What the orchestrator knows, or why it cannot be asked."""
    try:
        with connect.client_for(cluster) as client:
            return by_name(client.nodes()), ""
    except ShoalError as error:
        return {}, error.message


def _state(node: Node, machine: list[str] | ShoalError, engine: EngineNode | None, silence: str) -> NodeState:
    lines = machine if isinstance(machine, list) else []
    limits = engine.info.compute_node_info.max_capacity if engine else None
    word = silence or "unknown"
    if not node.has_role("compute"):
        word = silence or "orchestrator"
    elif engine:
        word = _engine_word(engine)
    return NodeState(
        name=node.name,
        roles=node.roles,
        address=node.address,
        ssh="answers" if isinstance(machine, list) else brief(machine),
        engine=word,
        version=_version(engine) if engine else "",
        drained="drained" in lines,
        serving="serving" in lines,
        containers=len({line for line in lines if line.startswith("container ")}),
        docker_fault=draining.docker_fault(lines) or "",
        cpu=limits.cpu if limits else 0.0,
        memory_bytes=limits.memory_bytes if limits else 0,
        kept_images=dict(draining.kept_images(lines)),
    )


def _engine_word(node: EngineNode) -> str:
    return node.connection_state.status.lower() if node.approved else node.membership.lower()


def _version(node: EngineNode) -> str:
    return node.info.bacalhau_version.git_version.removeprefix("v")


def compute_node(cluster: Cluster, name: str) -> Node:
    """The node named `name`, which must have the compute role alone. Raises UsageError where it has not."""
    node = cluster.node(name)
    if node.has_role("requester") or not node.has_role("compute"):
        raise UsageError(
            f"{name} is {'the requester' if node.has_role('requester') else 'no compute node'}; "
            "only plain compute nodes come and go",
            hint="take the whole site down with `shoal site teardown`",
        )
    return node
