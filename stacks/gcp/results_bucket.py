"""An optional bucket for events and clips: closed to the public, emptied by age, written to by compute nodes alone.

The nodes' outboxes ship to it by themselves: its name is in the cluster document.
"""

from __future__ import annotations

import pulumi
from pulumi_gcp import storage

from stacks.gcp.config import Bucket, GcpSettings
from stacks.gcp.identity import NodeIdentity

RIGHTS = {"compute-writes": "roles/storage.objectCreator", "compute-reads": "roles/storage.objectViewer"}
"""Add objects, and see what is there; replace or delete none. Without the right to list (in objectViewer) Google says
"forbidden" of an object that is not there, and the shipper could not look before it sends."""
TESTS_DAYS = 1
"""How long what `shoal outbox test` ships stays."""


class ResultsBucket(pulumi.ComponentResource):
    """The bucket and the rights to it."""

    def __init__(
        self,
        settings: GcpSettings,
        wanted: Bucket,
        project: str,
        writers: NodeIdentity,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("shoal:gcp:ResultsBucket", "results", None, opts)
        here = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        bucket = storage.Bucket(
            "bucket",
            name=bucket_name(settings, project),
            location=settings.region,
            storage_class=wanted.storage_class,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            # A bucket that still holds results stops a destroy; empty it first.
            force_destroy=False,
            lifecycle_rules=_rules(wanted),
            # It holds what nothing else has: whoever wants it gone says so.
            opts=pulumi.ResourceOptions.merge(here, pulumi.ResourceOptions(protect=True)),
        )
        for name, role in RIGHTS.items():
            storage.BucketIAMMember(name, bucket=bucket.name, role=role, member=writers.member, opts=here)
        self.register_outputs({"name": bucket.name})


def bucket_name(settings: GcpSettings, project: str) -> str:
    """The project's id makes it one of its own in the whole world."""
    return f"{project}-shoal-{settings.name}"


def _rules(wanted: Bucket) -> list[storage.BucketLifecycleRuleArgs]:
    """Everything goes by age; records, which few look at, go to colder classes before, where they stay long enough."""
    rules = [
        storage.BucketLifecycleRuleArgs(
            action=storage.BucketLifecycleRuleActionArgs(type="Delete"),
            condition=storage.BucketLifecycleRuleConditionArgs(age=wanted.retention_days),
        ),
        storage.BucketLifecycleRuleArgs(
            action=storage.BucketLifecycleRuleActionArgs(type="Delete"),
            condition=storage.BucketLifecycleRuleConditionArgs(age=TESTS_DAYS, matches_prefixes=["tests/"]),
        ),
    ]
    for colder, after_days in wanted.colder():
        rules.append(
            storage.BucketLifecycleRuleArgs(
                action=storage.BucketLifecycleRuleActionArgs(type="SetStorageClass", storage_class=colder),
                condition=storage.BucketLifecycleRuleConditionArgs(age=after_days, matches_prefixes=["records/"]),
            )
        )
    return rules
