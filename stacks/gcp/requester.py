"""The control node: never spot, since the whole lab hangs on it."""

from __future__ import annotations

import pulumi

from stacks.gcp.node import NodeArgs, node


class RequesterNode(pulumi.ComponentResource):
    """The machine that takes jobs and hands out images."""

    entry: pulumi.Output[dict[str, object]]

    def __init__(self, args: NodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("shoal:gcp:Requester", "requester", None, opts)
        here = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        name, zone = next(iter(args.settings.places.items()))
        self.entry = node(name, zone, "requester", args, here)
        self.register_outputs({"entry": self.entry})
