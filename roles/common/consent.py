"""What the owner of a machine has to agree to before a role does it: `--yes-to NAME`, or host data `shoal_yes_to`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyinfra.api.host import Host

DOCKER_RESTART = "docker-restart"
APT_UPGRADE = "apt-upgrade"
CONSENTS = {
    DOCKER_RESTART: "restart the owner's Docker engine although that ends containers of his",
    APT_UPGRADE: "upgrade packages of the owner's where what is installed needs newer ones",
}
"""Every name that can be agreed to, with what is agreed to by it."""


def agreed(host: Host) -> frozenset[str]:
    """The names agreed to for this host."""
    value = host.data.get("shoal_yes_to") or ()
    return frozenset([value] if isinstance(value, str) else value)


def owned(host: Host) -> bool:
    """Whether the machine has an owner beside us: it was registered and not made by a lab or a cloud stack."""
    document = host.data.get("shoal_cluster")
    return bool(document) and document["substrate"] in {"onprem", "edge"}
