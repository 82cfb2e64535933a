"""What the requester and the compute nodes have in common: a machine, who may log in, its entry in the document."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_gcp import compute

from shoal.cluster.document import Role
from stacks.gcp.access import grant_login
from stacks.gcp.config import GcpSettings
from stacks.gcp.data_disk import PREPARE, data_disk
from stacks.gcp.identity import NodeIdentity
from stacks.gcp.machine import machine
from stacks.gcp.node_entry import entry


@dataclass(frozen=True, slots=True)
class NodeArgs:
    """What nodes of one role are made of."""

    settings: GcpSettings
    project: str
    identity: NodeIdentity
    subnetwork: compute.Subnetwork


def node(
    name: str, zone: str, role: Role, args: NodeArgs, opts: pulumi.ResourceOptions
) -> pulumi.Output[dict[str, object]]:
    """Make a node of `role`, a compute node with its data disk, and give its entry."""
    settings, computes = args.settings, role == "compute"
    # The lab hangs on its requester; a compute node holds nothing that is not on its data disk.
    machine_opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=not computes))
    instance = machine(
        name,
        zone,
        settings,
        settings.compute if computes else settings.requester,
        identity=args.identity,
        subnetwork=args.subnetwork,
        data_disk=data_disk(name, zone, settings, opts=opts) if computes else None,
        startup_script=PREPARE if computes else None,
        opts=machine_opts,
    )
    grant_login(name, instance, settings, opts=opts)
    return entry(instance, role, settings, args.project, zone)
