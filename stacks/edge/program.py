"""The edge stack: registers the boxes of its configuration and exports the cluster document."""

from __future__ import annotations

from typing import Any

import pulumi

from shoal.errors import Fault
from stacks.common.cost_line import show
from stacks.common.document import export_cluster
from stacks.common.settings import is_secret, raw_settings, refuse
from stacks.edge.box import RegisteredBox
from stacks.edge.config import EdgeSettings, checked
from stacks.edge.orchestrator_token import orchestrator_token

TAILNET_KEY = "tailscaleAuthKey"


class EdgeSite(pulumi.ComponentResource):
    """All that is registered under one name."""

    def __init__(self, name: str) -> None:
        super().__init__("shoal:edge:Site", name, None)


def program() -> None:
    """Register what the configuration lists. Ends with one list of all faults before anything is registered."""
    project, stack = pulumi.get_project(), pulumi.get_stack()
    raw = raw_settings(project)
    faults: list[Fault] = []
    if raw.pop(TAILNET_KEY, None) is not None and not is_secret(project, TAILNET_KEY):
        faults.append(Fault(TAILNET_KEY, "must be set with `pulumi config set --secret`"))
    settings, estimate, found = checked(raw)
    faults += found
    if settings is None or estimate is None or faults:
        refuse(f"{project}/{stack}", faults)
    show(estimate)
    name = settings.name or stack

    site = EdgeSite("site")
    here = pulumi.ResourceOptions(parent=site)
    boxes = [RegisteredBox(box, opts=here) for box in settings.boxes]
    token = orchestrator_token(settings.token_generation, opts=here)
    site.register_outputs({})

    records = pulumi.Output.all(*[box.record for box in boxes])
    export_cluster(records.apply(lambda nodes: _document(name, settings, nodes)))
    pulumi.export("knownHosts", known_hosts(settings))
    kept = {"orchestratorToken": token}
    if (key := pulumi.Config().get_secret(TAILNET_KEY)) is not None:
        kept[TAILNET_KEY] = key
    pulumi.export("secrets", pulumi.Output.secret(kept))


def known_hosts(settings: EdgeSettings) -> list[str]:
    """Lines for a known_hosts file, of the boxes whose key is in the configuration."""
    lines = []
    for box in settings.boxes:
        if box.host_key:
            place = box.address if box.port == 22 else f"[{box.address}]:{box.port}"
            lines.append(f"{place} {box.host_key}")
    return lines


def _document(name: str, settings: EdgeSettings, nodes: list[Any]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": name,
        "substrate": "edge",
        "engine": settings.engine,
        "mesh": settings.mesh,
        "nodes": list(nodes),
    }
    if settings.identity_file:
        document["ssh"] = {"identity_file": str(settings.identity_file)}
    return document
