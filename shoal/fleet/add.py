"""A machine is added to a cluster that runs, and nothing is done on any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shoal.check import examine
from shoal.cluster import document as clusters
from shoal.cluster import login, onprem_edit
from shoal.cluster.document import Cluster, Node
from shoal.cluster.reach import Reach
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.engines.bacalhau import secrets
from shoal.engines.choice import Choice
from shoal.errors import Fault, ShoalError, UsageError
from shoal.fleet import ready
from shoal.fleet.nodes import compute_node
from shoal.mesh import moving
from shoal.paths import NODE_DRAINED
from shoal.ssh import client as ssh
from shoal.telling import Say


def add(
    reach: Reach,
    name: str,
    machine: dict[str, Any] | None,
    say: Say,
    *,
    yes_to: Sequence[str] = (),
    break_lock: bool = False,
) -> Cluster:
    """Bring a node in: into the document where it is not yet, its mark away, deployed, and there for the engine.

    Looked at before anything is changed, the document included; `yes_to` are agreements of its owner's.

    `machine` is a new node's entry in the document. Nothing is done on any other node. Raises UsageError, and
    ShoalError with exit code 4 where the engine's program cannot be had for it; then nothing was done.
    """
    write = None
    machine = machine and login.filled_entry(reach.first.ssh, machine)
    known = next((node for node in reach.first.nodes if node.name == name), None)
    if machine is not None and known is not None:
        _refuse_another(known, machine, reach.path)
    elif machine is not None:
        more, write = _with(reach, machine)
        reach = reach.with_cluster(more)
    node = compute_node(reach.first, name)
    choice = _engine_of(reach.first, node, say)
    ready.refuse_newer_engine(reach.now, [name], choice)
    examine.before(reach.now, [name], bacalhau=choice.engine == "bacalhau", yes_to=yes_to, say=say)
    if write is not None:
        write()
        say(f"{name} is in {reach.path}")
    if reach.note and reach.note.wanted and reach.note.nodes:
        move = moving.on(reach, only=[node.name], engine=choice, break_lock=break_lock, say=say)
        moving.say_left((one for one in move.nodes if one.node == node.name), say)
        reach = move.reach or reach
    ssh.run(reach.now, reach.now.node(name), "rm", "-f", str(NODE_DRAINED), root=True)
    result = deploys.run_deploy(
        reach,
        "site",
        limit=[node.name],
        data=examine.agreement(yes_to),
        engine=choice,
        break_lock=break_lock,
        say=say,
    )
    say(f"{node.name}: {result.changed} operations changed something")
    if choice.engine == "bacalhau":
        ready.await_ready(reach.now, [node.name], say)
    return reach.first


def _with(reach: Reach, machine: dict[str, Any]) -> tuple[Cluster, Callable[[], None]]:
    """The cluster with one more machine, and what writes that. Raises UsageError where it would not be valid."""
    document = reach.path
    if document.suffix == ".toml":
        text, more = onprem_edit.with_machine(document, machine)
        return more, lambda: onprem_edit.write(document, text)
    raw = reach.first.model_dump(mode="json")
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
