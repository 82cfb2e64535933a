"""Role `registry`: the site's own image registry on the requester.

An image crosses the WAN once per site; compute nodes pull it over the LAN, by digest.
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
DROP_IN = "/etc/systemd/system/docker-registry.service.d/shoal.conf"
UNIT = "docker-registry.service"
USER = "docker-registry"
FILES = Path(__file__).parent / "files"


def config_text(registry: Registry, peer_address: str) -> str:
    """The registry's configuration; the distribution's own file, which asks for a password, is left as it is."""
    text = (FILES / "registry.yml").read_text(encoding="utf-8")
    listen = authority(registry.registry_bind or peer_address, registry.registry_port)
    return text.replace("@STORAGE@", registry.registry_storage).replace("@LISTEN@", listen)


@deploy("registry")
def install() -> None:
    """Configuration first, then the package, so that its first start is already ours; then wait until it answers."""
    registry = knobs.read(Registry, host)
    peer = knobs.node_of(host).peer_address
    text_file(name="Configure the registry", path=CONFIG, content=config_text(registry, peer))
    text_file(
        name="Point the service at our configuration",
        path=DROP_IN,
        content=(FILES / "shoal.conf").read_text(encoding="utf-8").replace("@CONFIG@", CONFIG),
    )
    packages(name="Install the registry", names=[USER], role="registry", _timeout=registry.registry_apt_timeout_s)
    folders(name="Give it its storage", paths={registry.registry_storage: ("750", f"{USER}:{USER}")})
    service(name="Run the registry", unit=UNIT, config_files=[CONFIG, DROP_IN], _timeout=60)
    answers(
        name="Wait until the registry answers",
        url=f"http://{authority(registry.registry_bind or peer, registry.registry_port)}/v2/",
        timeout_s=registry.registry_ready_timeout_s,
    )


@deploy("registry")
def tidy() -> None:
    """Give back the space of images that were let go; for the end of a site's deploy."""
    registry = knobs.read(Registry, host)
    peer = knobs.node_of(host).peer_address
    garbage_absent(name="Give back what no image uses", config=CONFIG, unit=UNIT, _timeout=600)
    answers(
        name="Wait until the registry answers again",
        url=f"http://{authority(registry.registry_bind or peer, registry.registry_port)}/v2/",
        timeout_s=registry.registry_ready_timeout_s,
    )


@deploy("registry")
def remove() -> None:
    """Take away the service, its settings and its images."""
    registry = knobs.read(Registry, host)
    service_absent(name="Stop the registry", unit=UNIT)
    recorded_packages_absent(name="Remove the registry", role="registry", _timeout=registry.registry_apt_timeout_s)
    absent(
        name="Remove its settings and images",
        paths=[CONFIG, str(Path(CONFIG).parent), str(Path(DROP_IN).parent), registry.registry_storage],
    )
