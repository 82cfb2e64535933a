"""The compute nodes: machines with a data disk each, spread over the zones in turn."""

from __future__ import annotations

import pulumi

from stacks.gcp.node import NodeArgs, node


class ComputePool(pulumi.ComponentResource):
    """`compute.count` nodes. Adding or taking away nodes leaves the others as they are."""

    entries: list[pulumi.Output[dict[str, object]]]

    def __init__(self, args: NodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # Its type was once another; a lab made then keeps every machine and disk.
        former = pulumi.ResourceOptions(aliases=[pulumi.Alias(type_="shoal:gcp:Pool")])
        super().__init__("shoal:gcp:ComputePool", "compute-pool", None, pulumi.ResourceOptions.merge(opts, former))
        here = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        settings = args.settings
        self.entries = [node(name, zone, "compute", args, here) for name, zone in list(settings.places.items())[1:]]
        self.register_outputs({"entries": self.entries})
