"""Role `docker`: a container engine, from the distribution or from the vendor."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.common import knobs
from roles.common.operations import absent, packages, packages_absent, recorded_packages_absent, service
from roles.docker.config import wanted_config
from roles.docker.defaults import Docker
from roles.docker.operations import daemon_config, daemon_config_absent, data_absent, group_members, vendor_source
from shoal.paths import NODE_STATE

DAEMON_JSON = "/etc/docker/daemon.json"
KEYRING = "/etc/apt/keyrings/shoal-docker-ce.asc"
SOURCES = "/etc/apt/sources.list.d/shoal-docker-ce.sources"
UNIT = "docker.service"


@deploy("docker")
def install() -> None:
    """Configuration first, then the engine: it starts with the right settings and needs no restart."""
    docker = knobs.read(Docker, host)
    if docker.docker_configure:
        daemon_config(
            name="Configure the engine",
            path=DAEMON_JSON,
            wanted=wanted_config(docker, knobs.cluster_of(host)),
            record=str(NODE_STATE / "roles" / "docker.json"),
        )
    if docker.docker_source == "docker-ce":
        vendor_source(
            name="Add the vendor's repository",
            repository=docker.docker_ce_repository or "",
            key_file=docker.docker_ce_key_file,
            keyring=KEYRING,
            sources=SOURCES,
        )
    engine = docker.docker_ce_packages if docker.docker_source == "docker-ce" else docker.docker_packages
    packages(
        name="Install the engine",
        names=[*engine, *docker.docker_extra_packages],
        role="docker",
        start_services=docker.docker_service,
        keep_record=docker.docker_record,
        _timeout=docker.docker_apt_timeout_s,
    )
    if docker.docker_service:
        service(
            name="Run the engine",
            unit=UNIT,
            config_files=[DAEMON_JSON] if docker.docker_configure else [],
            _timeout=120,
        )
    if docker.docker_users:
        group_members(name="Let users drive the engine", users=docker.docker_users)


@deploy("docker")
def remove() -> None:
    """Take away what `install` put; an engine that was there before stays, with its own settings."""
    docker = knobs.read(Docker, host)
    record = str(NODE_STATE / "roles" / "docker.json")
    if docker.docker_configure:
        daemon_config_absent(name="Take our settings back", path=DAEMON_JSON, record=record)
    if not docker.docker_record:
        packages_absent(
            name="Remove the named packages", names=list(docker.docker_packages), _timeout=docker.docker_apt_timeout_s
        )
        return
    data_absent(name="Stop our engine and remove its data", role="docker", _timeout=120)
    recorded_packages_absent(name="Remove the engine", role="docker", _timeout=docker.docker_apt_timeout_s)
    absent(name="Remove the vendor's repository", paths=[KEYRING, SOURCES])
