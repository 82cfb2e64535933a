"""Every knob of role `registry`."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.errors import Fault
from shoal.paths import NODE_STATE


@dataclass(frozen=True)
class Registry:
    """Set as host or group data under the same names."""

    registry_bind: str | None = None
    """Address the registry listens on. None: the requester's address as the other nodes know it, and no other."""
    registry_port: int = 5000
    """Its port; also the name under which nodes pull. The docker role's `docker_site_registry_port` goes with it.
    Only GET and HEAD are answered there."""
    registry_write_port: int = 5001
    """Where images are pushed and removed: on the requester's loopback alone. The yolov5 role's
    `yolov5_registry_write_port` goes with it."""
    registry_storage: str = str(NODE_STATE / "registry")
    """Where it keeps images on the requester."""
    registry_ready_timeout_s: int = 30
    """How long it may take to answer after a start."""
    registry_apt_timeout_s: int = 600
    """How long installing it may take before the deploy gives up."""

    def faults(self) -> list[Fault]:
        """What no single field shows."""
        found = []
        for name, port in (("registry_port", self.registry_port), ("registry_write_port", self.registry_write_port)):
            if not 1 <= port <= 65535:
                found.append(Fault(name, f"is not a port (found {port})"))
        if self.registry_port == self.registry_write_port:
            found.append(Fault("registry_write_port", "is the same as registry_port"))
        if not self.registry_storage.startswith("/") or self.registry_storage == "/":
            found.append(Fault("registry_storage", "must be an absolute path of its own"))
        return found
