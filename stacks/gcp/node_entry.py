"""A machine as a node of the cluster document."""

from __future__ import annotations

import pulumi
from pulumi_gcp import compute

from shoal.cluster.document import Role
from shoal.cost import prices as cost
from stacks.gcp.checks import machines
from stacks.gcp.config import GcpSettings
from stacks.gcp.families import architecture


def entry(
    instance: compute.Instance, role: Role, settings: GcpSettings, project: str, zone: str
) -> pulumi.Output[dict[str, object]]:
    """The node's entry. Its address is its name inside the network, which stays when the machine is replaced."""
    size = settings.requester if role == "requester" else settings.compute
    priced = machines(settings)[0 if role == "requester" else 1]
    usd_per_hour, _ = cost.machine_usd_per_hour(priced, settings.prices, spot=priced.spot)
    node: dict[str, object] = {
        "roles": [role],
        "user": settings.user,
        "arch": architecture(size.machine_type, settings.prices),
        "labels": {"zone": zone, "machine_type": size.machine_type},
        "spot": priced.spot,
    }
    if usd_per_hour is not None:
        node["price_usd_per_hour"] = round(usd_per_hour, 6)
    return instance.name.apply(lambda name: {"name": name, "address": f"{name}.{zone}.c.{project}.internal", **node})


def proxy_command(project: str) -> str:
    """How ssh reaches a node by that name: through the Identity-Aware Proxy, by gcloud.

    Written for both OpenSSH and paramiko: no percent sign but those of %h and %p, no shell but the one it starts.
    """
    tunnel = f'exec gcloud compute start-iap-tunnel "$1" "$port" --listen-on-stdin --project={project} --zone="$2"'
    return f"sh -c 'port=$1; IFS=.; set -- $0; {tunnel}' %h %p"
