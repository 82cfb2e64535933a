"""Labels on everything that can carry them, put on by one transformation so that no component can forget them."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi


def labelled(labels: Mapping[str, str]) -> pulumi.ResourceTransformation:
    """A transformation that adds `labels` to every resource whose type has them; a resource's own labels win."""

    def transformation(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if not isinstance(getattr(type(args.resource), "labels", None), property):
            return None
        own = args.props.get("labels") or {}
        if not isinstance(own, dict):
            raise TypeError("labels of a resource must be a plain dict")
        return pulumi.ResourceTransformationResult(props={**args.props, "labels": {**labels, **own}}, opts=args.opts)

    return transformation
