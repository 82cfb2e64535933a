"""One virtual machine as every node of the lab has it: private, shielded, short-lived."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import pulumi
from pulumi_gcp import compute

from stacks.gcp.config import IMAGES, Compute, GcpSettings, Requester
from stacks.gcp.families import architecture
from stacks.gcp.identity import NodeIdentity

PREEMPTION_NOTICE_S = 120
"""Seconds between the notice that a spot machine is taken away and the signal to power off; 0 where left out. The value
of the provider's own test (google-beta, TestAccComputeInstance_preemptionNoticeDuration)."""
MADE_ONCE = ["scheduling.maxRunDuration", "scheduling.preemptionNoticeDuration"]
"""What a machine gets when it is made and the settings never change afterwards: a changed longest run would make a new
machine, a changed notice is not sent by the provider. `shoal up` sets the longest run of a machine that is stopped."""


def machine(
    name: str,
    zone: str,
    settings: GcpSettings,
    size: Requester | Compute,
    *,
    identity: NodeIdentity,
    subnetwork: compute.Subnetwork,
    opts: pulumi.ResourceOptions,
    data_disk: compute.Disk | None = None,
    startup_script: str | None = None,
) -> compute.Instance:
    """A machine of `size`. It has no public address and ends itself after the settings' time."""
    metadata = _metadata(settings)
    if startup_script:
        # As an entry of the metadata: the separate argument would replace the machine on every edit.
        metadata["startup-script"] = startup_script
    return compute.Instance(
        name,
        name=name,
        zone=zone,
        machine_type=size.machine_type,
        boot_disk=compute.InstanceBootDiskArgs(
            auto_delete=True,
            initialize_params=compute.InstanceBootDiskInitializeParamsArgs(
                image=settings.image or IMAGES[architecture(size.machine_type, settings.prices)],
                size=size.disk_gib,
                type=size.disk_type,
                labels=settings.labels(),
            ),
        ),
        attached_disks=[
            compute.InstanceAttachedDiskArgs(source=data_disk.id, device_name="shoal-data", mode="READ_WRITE")
        ]
        if data_disk
        else [],
        # No access config: a machine has a public address only where one is asked for.
        network_interfaces=[compute.InstanceNetworkInterfaceArgs(subnetwork=subnetwork.id)],
        service_account=compute.InstanceServiceAccountArgs(email=identity.email, scopes=["cloud-platform"]),
        shielded_instance_config=compute.InstanceShieldedInstanceConfigArgs(
            enable_secure_boot=True, enable_vtpm=True, enable_integrity_monitoring=True
        ),
        scheduling=_scheduling(settings, size),
        metadata=metadata,
        desired_status="RUNNING",
        allow_stopping_for_update=True,
        deletion_protection=False,
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(ignore_changes=MADE_ONCE)),
    )


def _metadata(settings: GcpSettings) -> dict[str, str]:
    metadata = {
        "enable-oslogin": "TRUE" if settings.login == "os-login" else "FALSE",
        "block-project-ssh-keys": "TRUE",
        "serial-port-enable": "FALSE",
        # Where the machine publishes its host keys, for strict checking from the first connection on.
        "enable-guest-attributes": "TRUE",
    }
    if settings.login == "key":
        metadata["ssh-keys"] = f"{settings.user}:{settings.ssh_public_key}"
    return metadata


def _scheduling(settings: GcpSettings, size: Requester | Compute) -> compute.InstanceSchedulingArgs:
    spot = isinstance(size, Compute) and size.spot
    action: Literal["STOP", "DELETE"] = size.termination_action if isinstance(size, Compute) and spot else "STOP"
    notice = compute.InstanceSchedulingPreemptionNoticeDurationArgs(seconds=PREEMPTION_NOTICE_S, nanos=0)
    return compute.InstanceSchedulingArgs(
        provisioning_model="SPOT" if spot else "STANDARD",
        preemptible=spot,
        automatic_restart=not spot,
        on_host_maintenance="TERMINATE" if spot else "MIGRATE",
        # Always set: left unset, every preview would show a change.
        instance_termination_action=action,
        max_run_duration=compute.InstanceSchedulingMaxRunDurationArgs(
            seconds=settings.longest_run_s(datetime.now(UTC)), nanos=0
        ),
        preemption_notice_duration=notice if spot else None,
    )
