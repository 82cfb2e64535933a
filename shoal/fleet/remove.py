"""Nodes leave a cluster: drained, taken off the engine's list and out of the document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from shoal.cluster import document as clusters
from shoal.cluster import load, onprem_edit, overlay
from shoal.cluster.document import Cluster
from shoal.deploys import run as deploys
from shoal.engines.bacalhau import secrets
from shoal.errors import Exit, Fault, ShoalError
from shoal.fleet import drain as draining
from shoal.fleet import engine_list as approval
from shoal.fleet.nodes import compute_node, drain
from shoal.mesh import moving
from shoal.telling import Say


def remove(document: Path, names: Sequence[str], say: Say, *, timeout_s: float, gone: bool) -> Cluster:
    """Drain the nodes, take off what the deploy put there, and let the orchestrator and the document forget them.

    `gone`: the machines are no more; only the registration and the document are touched. Raises ShoalError with exit
    code 3, with all else done, where the orchestrator keeps an old entry of a name.
    """
    cluster = load.load_first(document)
    nodes = [compute_node(cluster, name) for name in names]
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


def _without(document: Path, names: Sequence[str]) -> tuple[Cluster, Callable[[], None]]:
    """The cluster without the nodes, and what writes that. Raises UsageError where the rest would not be valid."""
    if document.suffix == ".toml":
        text, rest = onprem_edit.without_machines(document, names)
        return rest, lambda: onprem_edit.write(document, text)
    raw = clusters.load(document).model_dump(mode="json")
    raw["nodes"] = [node for node in raw["nodes"] if node["name"] not in names]
    rest = clusters.parse(raw, source=f"{document} without {', '.join(names)}")
    return rest, lambda: clusters.save(rest, document)
