"""The record of one registered box; nothing is made on the box itself."""

from __future__ import annotations

from typing import Any

import pulumi

from stacks.edge.config import Box


class RegisteredBox(pulumi.ComponentResource):
    """Keeps a box's entry in the stack's state; taking it out of the configuration unregisters the box."""

    record: pulumi.Output[dict[str, Any]]
    """The entry as the cluster document wants it."""

    def __init__(self, box: Box, opts: pulumi.ResourceOptions | None = None) -> None:
        former = [pulumi.Alias(name=old) for old in box.formerly]
        super().__init__(
            "shoal:edge:Box", box.name, None, pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(aliases=former))
        )
        # The children of a renamed component are found by the aliases that they inherit from it.
        stash = pulumi.Stash(f"{box.name}-record", input=entry(box), opts=pulumi.ResourceOptions(parent=self))
        # `output` keeps the first value for ever; only `input` follows what the configuration says now.
        self.record = stash.input
        self.register_outputs({"record": self.record})


def entry(box: Box) -> dict[str, Any]:
    """A box as a node of the cluster document."""
    node: dict[str, Any] = {
        "name": box.name,
        "roles": list(box.roles),
        "address": box.address,
        "port": box.port,
        "user": box.user,
        "arch": box.arch,
        "labels": dict(box.labels),
    }
    if box.cluster_address:
        node["cluster_address"] = box.cluster_address
    if box.camera_folders:
        node["camera_folders"] = list(box.camera_folders)
    if box.privacy:
        node["privacy"] = box.privacy.model_dump(mode="json")
    if box.price_usd_per_hour is not None:
        node["price_usd_per_hour"] = box.price_usd_per_hour
    return node
