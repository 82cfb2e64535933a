"""The one thing that a stack hands on: the cluster document, checked before it is exported."""

from __future__ import annotations

import json
from typing import Any

import pulumi

from shoal.cluster import document as cluster

OUTPUT = "cluster"
"""Name of the stack output that holds the document."""


def export_cluster(document: pulumi.Input[dict[str, Any] | None]) -> None:
    """Export the document, or none where there is none yet; one that `shoal.cluster.document` refuses fails the update
    with all its faults.
    """
    pulumi.export(OUTPUT, pulumi.Output.from_input(document).apply(_checked))


def _checked(document: dict[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    checked = cluster.parse(document, source=f"the document of stack {pulumi.get_stack()}")
    plain: dict[str, Any] = json.loads(checked.model_dump_json(exclude_none=True))
    return plain
