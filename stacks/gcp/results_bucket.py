"""An optional bucket for results: closed to the public, emptied by age, written to by compute nodes and no one else."""

from __future__ import annotations

import pulumi
from pulumi_gcp import storage

from stacks.gcp.config import Bucket, GcpSettings
from stacks.gcp.identity import NodeIdentity


class ResultsBucket(pulumi.ComponentResource):
    """The bucket and the one right to it."""

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
            # Bucket names are global; the project's id makes this one unique.
            name=f"{project}-shoal-{settings.name}",
            location=settings.region,
            storage_class=wanted.storage_class,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            # A bucket that still holds results stops a destroy; empty it first.
            force_destroy=False,
            lifecycle_rules=[
                storage.BucketLifecycleRuleArgs(
                    action=storage.BucketLifecycleRuleActionArgs(type="Delete"),
                    condition=storage.BucketLifecycleRuleConditionArgs(age=wanted.retention_days),
                )
            ],
            opts=here,
        )
        # May add objects, not read, list, replace or delete any.
        storage.BucketIAMMember(
            "compute-writes",
            bucket=bucket.name,
            role="roles/storage.objectCreator",
            member=writers.member,
            opts=here,
        )
        self.register_outputs({"name": bucket.name})
