"""The gcp stack: a network, two identities, a requester and compute nodes; exports the cluster document."""

from __future__ import annotations

from typing import Any

import pulumi

from stacks.common.cost_line import show
from stacks.common.document import export_cluster
from stacks.common.labels import labelled
from stacks.common.present import present
from stacks.common.settings import raw_settings, refuse
from stacks.gcp.checks import checked, warnings
from stacks.gcp.compute_pool import ComputePool
from stacks.gcp.config import GcpSettings
from stacks.gcp.identity import NodeIdentity
from stacks.gcp.network import PrivateNetwork
from stacks.gcp.node import NodeArgs
from stacks.gcp.node_entry import proxy_command
from stacks.gcp.requester import RequesterNode
from stacks.gcp.results_bucket import ResultsBucket, bucket_name


class Lab(pulumi.ComponentResource):
    """Everything of one lab; what can be labelled under it is."""

    def __init__(self, settings: GcpSettings) -> None:
        marked = pulumi.ResourceOptions(transformations=[labelled(settings.labels())])
        super().__init__("shoal:gcp:Lab", "lab", None, marked)
        self.register_outputs({})


def program() -> None:
    """Make the lab that the configuration describes. Ends with one list of all faults before any resource."""
    stack, project = pulumi.get_stack(), pulumi.Config("gcp").get("project")
    raw = {"name": stack, **raw_settings(pulumi.get_project())}
    settings, estimate, faults = checked(raw, project)
    if settings is None or estimate is None or project is None or faults:
        refuse(f"{pulumi.get_project()}/{stack}", faults)
    show(estimate)
    for warning in warnings(settings):
        pulumi.log.warn(warning)

    here = pulumi.ResourceOptions(parent=Lab(settings))
    requester = NodeIdentity("requester", settings, project, opts=here)
    workers = NodeIdentity("compute", settings, project, opts=here)
    network = PrivateNetwork(settings, requester, workers, opts=here)
    control = RequesterNode(NodeArgs(settings, project, requester, network.subnetwork), opts=here)
    pool = ComputePool(NodeArgs(settings, project, workers, network.subnetwork), opts=here)
    if settings.bucket:
        ResultsBucket(settings, settings.bucket, project, workers, opts=here)

    nodes = present([control.entry, *pool.entries])
    export_cluster(nodes.apply(lambda entries: _document(settings, project, entries)))


def _document(settings: GcpSettings, project: str, nodes: list[Any]) -> dict[str, Any] | None:
    """The document of the machines that are there; None where they make no cluster yet."""
    if {role for node in nodes for role in node["roles"]} != {"requester", "compute"}:
        return None
    return {
        "name": settings.name,
        "substrate": "gcp",
        "engine": settings.engine,
        "mesh": settings.mesh,
        "ssh": {"proxy_command": proxy_command(project)},
        **({"events_bucket": bucket_name(settings, project)} if settings.bucket else {}),
        "nodes": list(nodes),
    }
