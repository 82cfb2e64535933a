"""Role `registry`: the site's own image registry on the requester.

An image crosses the WAN once per site; compute nodes pull it over the LAN, by digest. Two services share one storage:
one on the requester's loopback takes images, the other one answers the nodes and can write nothing.
"""

from __future__ import annotations

from pathlib import Path

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.common import knobs
from roles.common.addresses import authority
from roles.common.operations import (
    absent,
    folders,
    packages,
    recorded_packages_absent,
    service,
    service_absent,
    text_file,
)
from roles.registry.defaults import Registry
from roles.registry.operations import answers, garbage_absent

CONFIG = "/etc/shoal/registry.yml"
READ_CONFIG = "/etc/shoal/registry-read.yml"
DROP_IN = "/etc/systemd/system/docker-registry.service.d/shoal.conf"
UNIT = "docker-registry.service"
READ_UNIT = "shoal-registry-read.service"
READ_UNIT_FILE = f"/etc/systemd/system/{READ_UNIT}"
USER = "docker-registry"
FILES = Path(__file__).parent / "files"


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


@deploy("registry")
def install() -> None:
    """Configuration first, then the package, so that its first start is already ours; then wait until it answers."""
    registry = knobs.read(Registry, host)
    peer = knobs.node_of(host).peer_address
    text_file(name="Configure the registry", path=CONFIG, content=config_text(registry))
    text_file(
        name="Point the service at our configuration",
        path=DROP_IN,
        content=(FILES / "shoal.conf").read_text(encoding="utf-8").replace("@CONFIG@", CONFIG),
    )
    packages(name="Install the registry", names=[USER], role="registry", _timeout=registry.registry_apt_timeout_s)
    folders(name="Give it its storage", paths={registry.registry_storage: ("750", f"{USER}:{USER}")})
    # First: it lets go of the nodes' address where an earlier version listened there for everything.
    service(name="Run the registry", unit=UNIT, config_files=[CONFIG, DROP_IN], _timeout=60)
    text_file(name="Configure what nodes pull from", path=READ_CONFIG, content=read_config_text(registry, peer))
    text_file(
        name="Describe it to systemd",
        path=READ_UNIT_FILE,
        content=(FILES / "registry-read.service").read_text(encoding="utf-8").replace("@CONFIG@", READ_CONFIG),
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
    recorded_packages_absent(name="Remove the registry", role="registry", _timeout=registry.registry_apt_timeout_s)
    absent(
        name="Remove its settings and images",
        paths=[
            CONFIG,
            READ_CONFIG,
            READ_UNIT_FILE,
            str(Path(CONFIG).parent),
            str(Path(DROP_IN).parent),
            registry.registry_storage,
        ],
    )
