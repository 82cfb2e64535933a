"""The lab's own network: private addresses, NAT for the way out, no rule that lets the world in."""

from __future__ import annotations

import pulumi
from pulumi_gcp import compute

from stacks.gcp.config import GcpSettings
from stacks.gcp.identity import NodeIdentity

IAP_RANGE = "35.235.240.0/20"
"""Where Google's Identity-Aware Proxy connects from; it asks who is there before it does."""
REQUESTER_PORTS = ("1234", "4222", "5000")
"""What compute nodes need of the requester: the orchestrator's API, its message bus, the image registry."""


class PrivateNetwork(pulumi.ComponentResource):
    """Network, subnet and NAT of one lab, and the only two ways in."""

    subnetwork: compute.Subnetwork

    def __init__(
        self,
        settings: GcpSettings,
        requester: NodeIdentity,
        workers: NodeIdentity,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        former = pulumi.ResourceOptions(aliases=[pulumi.Alias(type_="shoal:gcp:Network")])
        super().__init__("shoal:gcp:PrivateNetwork", "network", None, pulumi.ResourceOptions.merge(opts, former))
        here = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        # The machines hang on them.
        carrying = pulumi.ResourceOptions.merge(here, pulumi.ResourceOptions(protect=True))
        prefix, region = f"shoal-{settings.name}", settings.region
        network = compute.Network(
            "network",
            name=prefix,
            # A changed description would make a new network: it says nothing that changes, and is left as it was made.
            description=f"shoal lab {settings.name}",
            auto_create_subnetworks=False,
            opts=pulumi.ResourceOptions.merge(carrying, pulumi.ResourceOptions(ignore_changes=["description"])),
        )
        self.subnetwork = compute.Subnetwork(
            "subnet",
            name=prefix,
            network=network.id,
            region=region,
            ip_cidr_range=settings.subnet_cidr,
            private_ip_google_access=True,
            opts=carrying,
        )
        router = compute.Router("router", name=prefix, network=network.id, region=region, opts=here)
        compute.RouterNat(
            "nat",
            name=prefix,
            router=router.name,
            region=region,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
            subnetworks=[
                compute.RouterNatSubnetworkArgs(name=self.subnetwork.id, source_ip_ranges_to_nats=["ALL_IP_RANGES"])
            ],
            opts=here,
        )
        compute.Firewall(
            "ssh-through-iap",
            name=f"{prefix}-ssh-iap",
            description="SSH, from the Identity-Aware Proxy only",
            network=network.id,
            direction="INGRESS",
            source_ranges=[IAP_RANGE],
            target_service_accounts=[requester.email, workers.email],
            allows=[compute.FirewallAllowArgs(protocol="tcp", ports=["22"])],
            opts=here,
        )
        compute.Firewall(
            "compute-to-requester",
            name=f"{prefix}-cluster",
            description="What compute nodes need of the requester",
            network=network.id,
            direction="INGRESS",
            source_service_accounts=[workers.email],
            target_service_accounts=[requester.email],
            allows=[compute.FirewallAllowArgs(protocol="tcp", ports=list(REQUESTER_PORTS))],
            opts=here,
        )
        self.register_outputs({})
