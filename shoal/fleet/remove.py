"""Nodes leave a cluster: drained, taken off the engine's list and out of the document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from shoal.cluster import document as clusters
from shoal.cluster import onprem_edit, overlay
from shoal.cluster.document import Cluster
from shoal.cluster.reach import Reach
from shoal.deploys import run as deploys
from shoal.engines.bacalhau import secrets
from shoal.errors import Exit, Fault, ShoalError
from shoal.fleet import drain as draining
from shoal.fleet import engine_list as approval
from shoal.fleet.nodes import compute_node, drain
from shoal.mesh import moving
from shoal.telling import Say


def remove(
    reach: Reach,
    names: Sequence[str],
    say: Say,
    *,
    timeout_s: float,
    gone: bool,
    break_lock: bool = False,
) -> Cluster:
    """Drain the nodes, take off what the deploy put there, and let the orchestrator and the document forget them.

    `gone`: the machines are no more; only the registration and the document are touched. Raises ShoalError with exit
    code 3, with all else done, where the orchestrator keeps an old entry of a name.
    """
    nodes = [compute_node(reach.first, name) for name in names]
    # Refused before anything is done, and made again at the end from the document as it is then: draining takes hours.
    _without(reach.path, names, reach.first)
    if not gone:
        drain(reach.now, names, say, timeout_s=timeout_s)
        if reach.note and reach.note.nodes:
            # Who logs a machine out of the mesh must not come over it.
            reach = moving.off(reach, only=list(names), deploy=False, say=say).reach or reach
        deploys.run_deploy(reach, "teardown", limit=list(names), break_lock=break_lock, say=say)
        draining.unmark(reach.first, nodes)
    left: dict[str, str] = {}
    if secrets.load(reach.first.name) is not None:
        left = approval.forget(reach.now, names).left
    overlay.forget(reach.first.name, names)
    rest, write = _without(reach.path, names)
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


def _without(document: Path, names: Sequence[str], known: Cluster | None = None) -> tuple[Cluster, Callable[[], None]]:
    """The cluster without the nodes, and what writes that. Raises UsageError where the rest would not be valid."""
    if document.suffix == ".toml":
        text, rest = onprem_edit.without_machines(document, names)
        return rest, lambda: onprem_edit.write(document, text)
    raw = (known or clusters.load(document)).model_dump(mode="json")
    raw["nodes"] = [node for node in raw["nodes"] if node["name"] not in names]
    rest = clusters.parse(raw, source=f"{document} without {', '.join(names)}")
    return rest, lambda: clusters.save(rest, document)
