"""Who may log in: the tunnel to a machine, its OS Login and the use of its account, per machine and per person."""

from __future__ import annotations

import pulumi
from pulumi_gcp import compute, iap

from stacks.gcp.config import GcpSettings


def grant_login(name: str, instance: compute.Instance, settings: GcpSettings, opts: pulumi.ResourceOptions) -> None:
    """Let `sshMembers` through the proxy to this machine and, with OS Login, log in there as administrators."""
    for index, member in enumerate(settings.ssh_members):
        iap.TunnelInstanceIAMMember(
            f"{name}-tunnel-{index}",
            instance=instance.name,
            zone=instance.zone,
            role="roles/iap.tunnelResourceAccessor",
            member=member,
            opts=opts,
        )
        if settings.login == "os-login":
            compute.InstanceIAMMember(
                f"{name}-login-{index}",
                instance_name=instance.name,
                zone=instance.zone,
                role="roles/compute.osAdminLogin",
                member=member,
                opts=opts,
            )
