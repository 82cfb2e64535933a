"""Role `registry`: the site's own image registry on the requester.

An image crosses the WAN once per site; compute nodes pull it over the LAN, by digest. Two services share one storage:
one on the requester's loopback takes images, the other one answers the nodes and can write nothing.
"""

from __future__ import annotations

from pathlib import Path

from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.context import host

from roles.common import knobs
from roles.common.addresses import authority
from roles.common.listen import will_listen
from roles.common.operations import (
    empty_folders_absent,
    folders,
    packages,
    packages_refused,
    recorded_files_absent,
    recorded_packages_absent,
    service,
    service_absent,
    text_file,
)
from roles.registry.defaults import Registry
from roles.registry.facts import FILES, Ports
from roles.registry.operations import (
    PACKAGES,
    answers,
    distributions_service_free,
    garbage_absent,
    storage_absent,
    units_forgotten,
)
from roles.registry.plan import port_faults
from shoal.errors import Fault

CONFIG = "/etc/shoal/registry.yml"
READ_CONFIG = "/etc/shoal/registry-read.yml"
DROP_IN = "/etc/systemd/system/docker-registry.service.d/shoal.conf"
"""By which earlier versions had the distribution's own service run with our configuration."""
UNIT = "shoal-registry.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
READ_UNIT = "shoal-registry-read.service"
READ_UNIT_FILE = f"/etc/systemd/system/{READ_UNIT}"
USER = "docker-registry"
BRINGS = (
    f"user {USER}",
    f"group {USER}",
    "path /var/lib/docker-registry",
    "path /etc/docker",
    "path /etc/docker/registry",
)
"""What the package makes and leaves behind."""


def config_text(registry: Registry) -> str:
    """The configuration of the service that takes images. The distribution's own file, which asks for a password, is
    left as it is."""
    return _filled("registry.yml", registry, authority("127.0.0.1", registry.registry_write_port))


def read_config_text(registry: Registry, peer_address: str) -> str:
    """The configuration of the service that nodes pull from."""
    listen = authority(registry.registry_bind or peer_address, registry.registry_port)
    return _filled("registry-read.yml", registry, listen)


def _filled(name: str, registry: Registry, listen: str) -> str:
    text = (FILES / name).read_text(encoding="utf-8")
    return text.replace("@STORAGE@", registry.registry_storage).replace("@LISTEN@", listen)


def machine_faults(target: Host) -> list[Fault]:
    """Who has the registry's ports on this machine, and why its package cannot be installed; looked for before the
    first change."""
    registry = knobs.read(Registry, target)
    wanted = (
        (registry.registry_bind or knobs.node_of(target).peer_address, registry.registry_port),
        ("127.0.0.1", registry.registry_write_port),
    )
    found = port_faults(target.get_fact(Ports, units=(UNIT, READ_UNIT), drop_in=DROP_IN, packages=PACKAGES), wanted)
    return [Fault(f"{target.name}: registry", text) for text in [*found, *packages_refused(target, [USER])]]


@deploy("registry")
def install() -> None:
    """The package, whose own service is not for us, then two services of ours; then wait until both answer."""
    registry = knobs.read(Registry, host)
    peer = knobs.node_of(host).peer_address
    will_listen(
        [
            (registry.registry_bind or peer, registry.registry_port, "the site's registry, read only, without TLS"),
            ("127.0.0.1", registry.registry_write_port, "the site's registry"),
        ]
    )
    packages(
        name="Install the registry",
        names=[USER],
        role="registry",
        start_services=False,
        brings=BRINGS,
        _timeout=registry.registry_apt_timeout_s,
    )
    # First: where an earlier version ran it with our configuration, it has our ports.
    distributions_service_free(
        name="Leave the distribution's service as its owner has it", drop_in=DROP_IN, _timeout=60
    )
    folders(name="Give it its storage", paths={registry.registry_storage: ("750", f"{USER}:{USER}")})
    text_file(name="Configure the registry", path=CONFIG, content=config_text(registry), role="registry")
    text_file(
        name="Describe the registry to systemd",
        path=UNIT_FILE,
        content=(FILES / "registry.service").read_text(encoding="utf-8").replace("@CONFIG@", CONFIG),
        role="registry",
    )
    service(name="Run the registry", unit=UNIT, config_files=[CONFIG, UNIT_FILE], _timeout=60)
    text_file(
        name="Configure what nodes pull from",
        path=READ_CONFIG,
        content=read_config_text(registry, peer),
        role="registry",
    )
    text_file(
        name="Describe it to systemd",
        path=READ_UNIT_FILE,
        content=(FILES / "registry-read.service").read_text(encoding="utf-8").replace("@CONFIG@", READ_CONFIG),
        role="registry",
    )
    service(name="Run what nodes pull from", unit=READ_UNIT, config_files=[READ_CONFIG, READ_UNIT_FILE], _timeout=60)
    _both_answer(registry, peer, "answers")


@deploy("registry")
def tidy() -> None:
    """Give back the space of images that were let go; for the end of a site's deploy."""
    registry = knobs.read(Registry, host)
    garbage_absent(name="Give back what no image uses", config=CONFIG, unit=UNIT, _timeout=600)
    _both_answer(registry, knobs.node_of(host).peer_address, "answers again")


def _both_answer(registry: Registry, peer: str, how: str) -> None:
    """Wait for the service that takes images and for the one that nodes pull from."""
    for what, place in (
        ("the registry", authority("127.0.0.1", registry.registry_write_port)),
        ("what nodes pull from", authority(registry.registry_bind or peer, registry.registry_port)),
    ):
        answers(name=f"Wait until {what} {how}", url=f"http://{place}/v2/", timeout_s=registry.registry_ready_timeout_s)


@deploy("registry")
def remove() -> None:
    """Take away the service, its settings and its images."""
    registry = knobs.read(Registry, host)
    service_absent(name="Stop what nodes pull from", unit=READ_UNIT)
    service_absent(name="Stop the registry", unit=UNIT)
    distributions_service_free(
        name="Leave the distribution's service as its owner has it", drop_in=DROP_IN, _timeout=60
    )
    recorded_packages_absent(name="Remove the registry", role="registry", _timeout=registry.registry_apt_timeout_s)
    recorded_files_absent(
        name="Remove its settings", role="registry", legacy=(CONFIG, READ_CONFIG, UNIT_FILE, READ_UNIT_FILE)
    )
    units_forgotten(name="Have systemd forget its services", units=(UNIT, READ_UNIT))
    empty_folders_absent(name="Remove an empty folder", paths=[str(Path(CONFIG).parent)])
    storage_absent(name="Remove its images", folder=registry.registry_storage)
