"""Every knob of role `docker`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from roles.common.openpgp import fingerprint
from shoal.errors import Fault


@dataclass(frozen=True)
class Docker:
    """Set as host or group data under the same names."""

    docker_source: Literal["distribution", "docker-ce"] = "distribution"
    """The distribution's `docker.io`, or the vendor's `docker-ce` from its own apt repository."""
    docker_packages: tuple[str, ...] = ("docker.io", "iptables")
    """Packages of the distribution's engine; the client comes along where it is one apart (Debian 13: docker-cli)."""
    docker_extra_packages: tuple[str, ...] = ()
    """Installed along with the engine, from the distribution."""
    docker_ce_packages: tuple[str, ...] = ("docker-ce", "docker-ce-cli", "containerd.io")
    """Packages of the vendor's engine."""
    docker_ce_repository: str | None = None
    """Address of the vendor's apt repository for this distribution, or of a mirror of it. Needed with `docker-ce`."""
    docker_ce_key_file: Path | None = None
    """The repository's signing key as a file on the control machine, armoured or not. Needed with `docker-ce`."""
    docker_ce_fingerprint: str = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
    """Fingerprint the key must have; checked before anything is changed."""
    docker_service: bool = True
    """Whether the engine runs as a service. False where systemd is not PID 1: packages only, nothing is started."""
    docker_configure: bool = True
    """Whether /etc/docker/daemon.json is ours to write. Keys of others in it are kept in any case."""
    docker_log_max_size: str = "10m"
    """A container's log is rotated at this size ..."""
    docker_log_max_files: int = 3
    """... and so many files of it are kept."""
    docker_live_restore: bool = True
    """Whether containers outlive a restart of the engine, so that an upgrade does not kill a running job."""
    docker_dns: tuple[str, ...] = ()
    """Name servers for containers. Empty: the engine's own choice."""
    docker_mtu: int | None = None
    """MTU of the engine's bridge. None: the engine's own choice (1500)."""
    docker_insecure_registries: tuple[str, ...] = ()
    """Registries (`host:port`) spoken to without TLS, beside the site's own."""
    docker_registry_mirrors: tuple[str, ...] = ()
    """Mirrors of the public registry, as full addresses."""
    docker_site_registry_port: int = 5000
    """Port of the site's registry on the requester; trusted without TLS. 0: there is none."""
    docker_users: tuple[str, ...] = ()
    """Users put into the group `docker`. Membership is as good as root; shoal itself goes through sudo."""
    docker_daemon_extra: dict[str, Any] = field(default_factory=dict)
    """Further keys for daemon.json, as they are. They win over the knobs above."""
    docker_record: bool = True
    """Whether the machine keeps a record of what was installed, for `remove`. Off where the caller keeps one: then
    `remove` takes exactly `docker_packages`."""
    docker_apt_timeout_s: int = 1200
    """How long installing the engine may take before the deploy gives up."""

    def faults(self) -> list[Fault]:
        """What no single field shows; the vendor's key is read and checked here, before any change."""
        found = []
        if self.docker_mtu is not None and not 576 <= self.docker_mtu <= 65535:
            found.append(Fault("docker_mtu", f"is not an MTU (found {self.docker_mtu})"))
        if self.docker_log_max_files < 1:
            found.append(Fault("docker_log_max_files", "must be at least 1"))
        if not self.docker_service and self.docker_configure:
            found.append(Fault("docker_configure", "must be off where docker_service is off"))
        if self.docker_source == "docker-ce":
            found += self._vendor_faults()
        return found

    def _vendor_faults(self) -> list[Fault]:
        found = []
        if not self.docker_ce_repository:
            found.append(Fault("docker_ce_repository", "is needed with docker_source docker-ce"))
        if self.docker_ce_key_file is None:
            found.append(
                Fault("docker_ce_key_file", "is needed with docker_source docker-ce; apt must know whom to trust")
            )
            return found
        try:
            there = fingerprint(self.docker_ce_key_file.read_bytes())
        except (OSError, ValueError) as error:
            return [*found, Fault("docker_ce_key_file", f"is not a usable key: {error}")]
        wanted = self.docker_ce_fingerprint.replace(" ", "").upper()
        if there != wanted:
            found.append(Fault("docker_ce_key_file", f"has the fingerprint {there}, wanted {wanted}"))
        return found
