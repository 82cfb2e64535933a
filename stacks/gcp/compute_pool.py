"""The compute nodes: machines with a data disk each, spread over the zones in turn."""

from __future__ import annotations

import pulumi
from pulumi_gcp import compute

from stacks.gcp.access import grant_login
from stacks.gcp.config import GcpSettings
from stacks.gcp.data_disk import PREPARE, data_disk
from stacks.gcp.identity import NodeIdentity
from stacks.gcp.machine import machine
from stacks.gcp.node_entry import entry


class ComputePool(pulumi.ComponentResource):
    """`compute.count` nodes. Adding or taking away nodes leaves the others as they are."""

    entries: list[pulumi.Output[dict[str, object]]]

    def __init__(
        self,
        settings: GcpSettings,
        project: str,
        identity: NodeIdentity,
        subnetwork: compute.Subnetwork,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        # Its type was once another; a lab made then keeps every machine and disk.
        former = pulumi.ResourceOptions(aliases=[pulumi.Alias(type_="shoal:gcp:Pool")])
        super().__init__("shoal:gcp:ComputePool", "compute-pool", None, pulumi.ResourceOptions.merge(opts, former))
        here = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        self.entries = []
        for index, zone in enumerate(spread(settings.compute.count, settings.zone_list)):
            name = f"{settings.name}-compute-{index + 1}"
            instance = machine(
                name,
                zone,
                settings,
                settings.compute,
                identity=identity,
                subnetwork=subnetwork,
                data_disk=data_disk(name, zone, settings, opts=here),
                startup_script=PREPARE,
                opts=here,
            )
            grant_login(name, instance, settings, opts=here)
            self.entries.append(entry(instance, "compute", settings, project, zone))
        self.register_outputs({"entries": self.entries})


def spread(count: int, zones: tuple[str, ...]) -> list[str]:
    """The zone of each of `count` nodes; a node's zone does not depend on how many come after it."""
    return [zones[index % len(zones)] for index in range(count)]
