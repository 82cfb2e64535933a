"""The control node: never spot, since the whole lab hangs on it."""

from __future__ import annotations

import pulumi
from pulumi_gcp import compute

from stacks.gcp.access import grant_login
from stacks.gcp.config import GcpSettings
from stacks.gcp.identity import NodeIdentity
from stacks.gcp.machine import machine
from stacks.gcp.node_entry import entry


class RequesterNode(pulumi.ComponentResource):
    """The machine that takes jobs and hands out images."""

    entry: pulumi.Output[dict[str, object]]

    def __init__(
        self,
        settings: GcpSettings,
        project: str,
        identity: NodeIdentity,
        subnetwork: compute.Subnetwork,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("shoal:gcp:Requester", "requester", None, opts)
        here = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        name, zone = f"{settings.name}-requester", settings.zone_list[0]
        instance = machine(
            name, zone, settings, settings.requester, identity=identity, subnetwork=subnetwork, opts=here
        )
        grant_login(name, instance, settings, opts=here)
        self.entry = entry(instance, "requester", settings, project, zone)
        self.register_outputs({"entry": self.entry})
