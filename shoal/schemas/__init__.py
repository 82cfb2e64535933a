"""The JSON Schemas that are generated from the models, and checked in beside this module."""

from __future__ import annotations

from pathlib import Path

from shoal.cluster import document as cluster

HERE = Path(__file__).parent


def generated() -> dict[Path, str]:
    """Each checked-in schema file and the text it must have."""
    return {HERE / "cluster.schema.json": cluster.json_schema()}
