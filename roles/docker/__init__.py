"""Role `docker`: a container engine. One that is there is used as it is; else one is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.common import knobs
from roles.common.apt_source import vendor_source
from roles.common.operations import packages_absent, packages_refused, recorded_files_absent
from roles.docker.defaults import Docker
from roles.docker.operations import (
    DAEMON_JSON,
    daemon_config,
    daemon_config_absent,
    engine_absent,
    engine_installed,
    engine_recorded,
    engine_runs,
    group_members,
    group_members_absent,
    planned,
)
from roles.docker.plan import packages_of
from shoal.errors import Fault

if TYPE_CHECKING:
    from pyinfra.api.host import Host

__all__ = ["DAEMON_JSON", "install", "machine_faults", "remove"]

KEYRING = "/etc/apt/keyrings/shoal-docker-ce.asc"
SOURCES = "/etc/apt/sources.list.d/shoal-docker-ce.sources"


def machine_faults(target: Host) -> list[Fault]:
    """What of this machine's engine stands against a deploy; looked for before the first change."""
    docker = knobs.read(Docker, target)
    facts, what = planned(target, docker)
    found = [Fault(f"{target.name}: docker", text) for text in what.refusals]
    if what.install and docker.docker_source == "distribution":
        found += [
            Fault(f"{target.name}: docker", text) for text in packages_refused(target, packages_of(facts, docker))
        ]
    return found


@deploy("docker")
def install() -> None:
    """Record and configuration first, then the engine: it starts with the right settings and needs no restart."""
    docker = knobs.read(Docker, host)
    if docker.docker_record:
        engine_recorded(name="Note what engine is there", docker=docker)
    if docker.docker_configure:
        daemon_config(name="Configure the engine", docker=docker)
    if docker.docker_source == "docker-ce" and docker.docker_ce_key_file is not None:
        vendor_source(
            name="Add the vendor's repository",
            repository=docker.docker_ce_repository or "",
            key_file=docker.docker_ce_key_file,
            keyring=KEYRING,
            sources=SOURCES,
            component="stable",
            role="docker",
        )
    engine_installed(name="Install the engine", docker=docker, _timeout=docker.docker_apt_timeout_s)
    if docker.docker_service:
        engine_runs(name="Run the engine", docker=docker, _timeout=120)
    if docker.docker_users:
        group_members(name="Let users drive the engine", users=docker.docker_users)


@deploy("docker")
def remove() -> None:
    """Take away what `install` put; an engine that was there before stays, with its own settings."""
    docker = knobs.read(Docker, host)
    if not docker.docker_record:
        packages_absent(
            name="Remove the named packages", names=list(docker.docker_packages), _timeout=docker.docker_apt_timeout_s
        )
        return
    if docker.docker_configure:
        daemon_config_absent(name="Take our settings back", _timeout=120)
    group_members_absent(name="Take users out of its group")
    engine_absent(name="Remove the engine, if it is ours", _timeout=docker.docker_apt_timeout_s)
    recorded_files_absent(name="Remove the vendor's repository", role="docker", legacy=(KEYRING, SOURCES))
