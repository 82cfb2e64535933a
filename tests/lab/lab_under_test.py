"""What the fixture `lab` gives to a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shoal.cluster.document import Cluster
from shoal.lab.state import LabFacts


@dataclass(frozen=True)
class Lab:
    """The lab under test."""

    name: str
    cluster: Cluster
    document: Path
    """Its cluster document, as for SHOAL_CLUSTER."""
    facts: LabFacts
