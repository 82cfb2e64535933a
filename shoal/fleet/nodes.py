"""The life of a cluster's nodes: seen by the engine or not, added, drained, removed.

How work is taken off them: `shoal.fleet.drain`. Who is approved, and who is forgotten: `shoal.fleet.engine_list`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shoal.cluster import document as clusters
from shoal.cluster import load, onprem_edit, overlay
from shoal.cluster.document import Cluster, Node
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.engines.bacalhau import secrets
from shoal.engines.bacalhau.client import BacalhauClient, EngineSilentError
from shoal.engines.bacalhau.models import EngineNode
from shoal.engines.choice import Choice
from shoal.errors import Exit, Fault, ShoalError, UsageError
from shoal.fleet import drain as draining
from shoal.fleet import engine_list as approval
from shoal.mesh import moving
from shoal.paths import NODE_DRAINED
from shoal.run import preflight
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.telling import Say

POLL_S = 2.0
READY_TIMEOUT_S = 120.0

_VERSION = re.compile(r"v?([0-9]+)\.([0-9]+)\.([0-9]+)")


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
    draining.drain_machines(cluster, [_compute(cluster, name) for name in names], say, timeout_s=timeout_s)


def add(document: Path, name: str, machine: dict[str, Any] | None, say: Say) -> Cluster:
    """Bring a node in: into the document where it is not yet, its mark away, deployed, and there for the engine.

    `machine` is a new node's entry in the document. Nothing is done on any other node. Raises UsageError, and
    ShoalError with exit code 4 where the engine's program cannot be had for it; then nothing was done.
    """
    cluster, write = load.load_first(document), None
    known = next((node for node in cluster.nodes if node.name == name), None)
    if machine is not None and known is not None:
        _refuse_another(known, machine, document)
    elif machine is not None:
        cluster, write = _with(document, machine)
    node = _compute(cluster, name)
    choice = _engine_of(cluster, node, say)
    refuse_newer_engine(overlay.applied(cluster), [name], choice)
    if write is not None:
        write()
        say(f"{name} is in {document}")
    if cluster.mesh == "tailscale" and (note := overlay.load(cluster.name)) and note.wanted and note.nodes:
        move = moving.on(document, only=[node.name], say=say)
        moving.say_left((one for one in move.nodes if one.node == node.name), say)
    reached = overlay.applied(cluster)
    ssh.run(reached, reached.node(name), "rm", "-f", str(NODE_DRAINED), root=True)
    result = deploys.run_deploy(document, "site", limit=[node.name], data=engines.deploy_data(choice), say=say)
    say(f"{node.name}: {result.changed} operations changed something")
    if choice.engine == "bacalhau":
        await_ready(reached, [node.name], say)
    return cluster


def refuse_newer_engine(cluster: Cluster, names: Collection[str], choice: Choice) -> None:
    """Raise UsageError where a deploy of `names` would place a newer program than the orchestrator's.

    With the requester among them the orchestrator is deployed first. One that does not answer is left to the deploy,
    which shows it each node's token before it places anything.
    """
    archs = {cluster.node(name).arch for name in names}
    if choice.engine != "bacalhau" or cluster.requester.name in names or secrets.load(cluster.name) is None:
        return
    try:
        with engines.client_for(cluster) as client:
            theirs = client.version().removeprefix("v")
    except EngineSilentError:
        return
    for ours in [binary.version for binary in choice.binaries if binary.arch in archs]:
        if _number(theirs) and _number(ours) > _number(theirs):
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
        with engines.client_for(cluster) as client:
            for node in nodes:
                _await(client, node, say)


def remove(document: Path, names: Sequence[str], say: Say, *, timeout_s: float, gone: bool) -> Cluster:
    """Drain the nodes, take off what the deploy put there, and let the orchestrator and the document forget them.

    `gone`: the machines are no more; only the registration and the document are touched. Raises ShoalError with exit
    code 3, with all else done, where the orchestrator keeps an old entry of a name.
    """
    cluster = load.load_first(document)
    nodes = [_compute(cluster, name) for name in names]
    _without(document, names)  # refused before anything is done, and made again at the end: draining takes hours
    if not gone:
        drain(overlay.applied(cluster), names, say, timeout_s=timeout_s)
        if cluster.mesh == "tailscale" and (note := overlay.load(cluster.name)) and note.nodes:
            # Who logs a machine out of the mesh must not come over it.
            moving.off(document, only=list(names), deploy=False, say=say)
        deploys.run_deploy(document, "teardown", limit=list(names), say=say)
        draining.unmark(cluster, nodes)
    left: dict[str, str] = {}
    if secrets.load(cluster.name) is not None:
        left = approval.forget(overlay.applied(cluster), names).left
    overlay.forget(cluster.name, names)
    rest, write = _without(document, names)
    write()
    say(f"removed: {', '.join(names)}; results of runs stay on the machines and at home")
    if left:
        raise ShoalError(
            "removed, but for the orchestrator's list",
            faults=tuple(Fault(name, why) for name, why in left.items()),
            hint="nothing; a node that is added under that name takes the entry over",
            exit_code=Exit.INCOMPLETE,
        )
    return rest


def _with(document: Path, machine: dict[str, Any]) -> tuple[Cluster, Callable[[], None]]:
    """The cluster with one more machine, and what writes that. Raises UsageError where it would not be valid."""
    if document.suffix == ".toml":
        text, more = onprem_edit.with_machine(document, machine)
        return more, lambda: onprem_edit.write(document, text)
    raw = clusters.load(document).model_dump(mode="json")
    raw["nodes"].append(machine)
    more = clusters.parse(raw, source=f"{document} with {machine['name']}")
    return more, lambda: clusters.save(more, document)


def _refuse_another(known: Node, machine: dict[str, Any], document: Path) -> None:
    """Raise UsageError where the machine that is to be added is not the one that the document has by its name."""
    try:
        given = Node.model_validate(machine)
    except ValidationError as error:
        raise UsageError(f"{known.name} cannot be that machine", faults=tuple(clusters.field_faults(error))) from None
    faults = tuple(
        Fault(field, f"{_shown(old)} in the document, {_shown(new)} given")
        for field in ("address", "port", "user", "arch", "labels")
        if (old := getattr(known, field)) != (new := getattr(given, field))
    )
    if faults:
        raise UsageError(
            f"{known.name} is in {document} already, and is not what was given; nothing was done",
            faults=faults,
            hint=f"`shoal nodes add {known.name}` takes it as the document has it; to change it edit the document; "
            "another machine needs another name",
        )


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={value[key]}" for key in sorted(value)) or "none"
    return str(value)


def _engine_of(cluster: Cluster, node: Node, say: Say) -> Choice:
    """The engine for a node that comes in: the one that the cluster has, which the node is no use without."""
    if secrets.load(cluster.name) is None or cluster.engine == "ssh":
        return engines.choose("auto", cluster, say=say)
    try:
        return engines.choose("bacalhau", cluster.model_copy(update={"nodes": (node,)}), say=say)
    except ShoalError as error:
        raise ShoalError(
            f"{node.name} is {node.arch}, and the cluster runs with Bacalhau, of which no program for it can be had; "
            "nothing was done",
            faults=error.faults or (Fault(node.arch, error.message),),
            hint=f"`shoal artifacts add bacalhau PATH` takes a program or a release archive for {node.arch} (with "
            "--version, where this machine cannot run it); then type this again",
            exit_code=error.exit_code,
        ) from None


def _number(version: str) -> tuple[int, ...]:
    """A version in numbers; nothing of one that has none, as of a program that was built without."""
    found = _VERSION.match(version)
    number = tuple(map(int, found.groups())) if found else ()
    return number if any(number) else ()


def _without(document: Path, names: Sequence[str]) -> tuple[Cluster, Callable[[], None]]:
    """The cluster without the nodes, and what writes that. Raises UsageError where the rest would not be valid."""
    if document.suffix == ".toml":
        text, rest = onprem_edit.without_machines(document, names)
        return rest, lambda: onprem_edit.write(document, text)
    raw = clusters.load(document).model_dump(mode="json")
    raw["nodes"] = [node for node in raw["nodes"] if node["name"] not in names]
    rest = clusters.parse(raw, source=f"{document} without {', '.join(names)}")
    return rest, lambda: clusters.save(rest, document)


def _engine_nodes(cluster: Cluster) -> tuple[dict[str, EngineNode], str]:
    """What the orchestrator knows, or why it cannot be asked."""
    try:
        with engines.client_for(cluster) as client:
            return {node.name: node for node in client.nodes()}, ""
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
    )


def _engine_word(node: EngineNode) -> str:
    return node.connection_state.status.lower() if node.approved else node.membership.lower()


def _version(node: EngineNode) -> str:
    return node.info.bacalhau_version.git_version.removeprefix("v")


def _compute(cluster: Cluster, name: str) -> Node:
    node = cluster.node(name)
    if node.has_role("requester") or not node.has_role("compute"):
        raise UsageError(
            f"{name} is {'the requester' if node.has_role('requester') else 'no compute node'}; "
            "only plain compute nodes come and go",
            hint="take the whole site down with `shoal site teardown`",
        )
    return node


def _await(client: BacalhauClient, node: Node, say: Say) -> None:
    """Until the orchestrator would give the node a job."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        there: EngineNode | None = None
        try:
            there = next((one for one in client.nodes() if one.name == node.name), None)
            why = there.unfit() if there else "it never came to the orchestrator"
        except EngineSilentError as error:
            why = error.message
        if why is None:
            say(f"{node.name}: connected, approved, Docker and local paths there")
            return
        if there and there.connected and not there.approved:
            say(f"{node.name}: {why}; `shoal nodes approve {node.name}` lets it take jobs")
            return
        if time.monotonic() > deadline:
            raise ShoalError(
                f"{node.name} is deployed, and the orchestrator would give it no job: {why}",
                hint="see `journalctl -u bacalhau-compute` there",
            )
        time.sleep(POLL_S)  # until it is there, or the deadline
