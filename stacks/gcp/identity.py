"""One service account per role, with the right to write logs and metrics and no other."""

from __future__ import annotations

import pulumi
from pulumi_gcp import projects, serviceaccount

from stacks.gcp.config import GcpSettings

LEAST_ROLES = ("roles/logging.logWriter", "roles/monitoring.metricWriter")


class NodeIdentity(pulumi.ComponentResource):
    """Who the machines of one role are."""

    email: pulumi.Output[str]
    member: pulumi.Output[str]
    account: serviceaccount.Account

    def __init__(
        self, role: str, settings: GcpSettings, project: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("shoal:gcp:Identity", f"{role}-identity", None, opts)
        here = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        short = {"requester": "req", "compute": "cmp"}[role]
        self.account = serviceaccount.Account(
            f"{role}-account",
            account_id=f"shoal-{settings.name}-{short}",
            display_name=f"shoal {role} of lab {settings.name}",
            description="made by shoal",
            opts=here,
        )
        self.email = self.account.email
        self.member = pulumi.Output.concat("serviceAccount:", self.email)
        for granted in LEAST_ROLES:
            projects.IAMMember(
                f"{role}-{granted.rpartition('.')[2]}", project=project, role=granted, member=self.member, opts=here
            )
        if settings.login == "os-login":
            # OS Login lets no one onto a machine who may not act as the machine's account.
            for index, person in enumerate(settings.ssh_members):
                serviceaccount.IAMMember(
                    f"{role}-user-{index}",
                    service_account_id=self.account.name,
                    role="roles/iam.serviceAccountUser",
                    member=person,
                    opts=here,
                )
        self.register_outputs({"email": self.email})
