"""The disk that holds a compute node's run folders and videos, and outlives its machine."""

from __future__ import annotations

from pathlib import Path

import pulumi
from pulumi_gcp import compute

from stacks.gcp.config import GcpSettings

DEVICE_NAME = "shoal-data"
PREPARE = (Path(__file__).parent / "files" / "prepare-data-disk.sh").read_text(encoding="utf-8")
"""Run at every start of the machine: makes mount units that wait for the disk; formats a blank one and never one that
holds something.
"""


def data_disk(name: str, zone: str, settings: GcpSettings, opts: pulumi.ResourceOptions) -> compute.Disk:
    """A separate disk, which stays when its machine is deleted."""
    return compute.Disk(
        f"{name}-data",
        name=f"{name}-data",
        zone=zone,
        size=settings.compute.data_disk_gib,
        type=settings.compute.disk_type,
        # Its content is in no program: whoever wants it gone says so (`shoal up --give-up NODE`, `shoal destroy`).
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=True)),
    )
