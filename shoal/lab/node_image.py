"""The node image: the base with systemd, sshd and what roles install later already downloaded."""

from __future__ import annotations

import contextlib
from collections import deque
from pathlib import Path

from docker.errors import APIError, ImageNotFound, NotFound
from docker.models.containers import Container

from shoal.errors import ShoalError, UsageError
from shoal.lab import base_image, image_cache, inherit
from shoal.lab.client import Engine, no_space, plain_errors
from shoal.lab.names import BUILD_LABEL, IMAGE_LABEL, home, short_hash
from shoal.locks import locked
from shoal.telling import Say, stage

REPOSITORY = "shoal/node"
HTTP_CONFLICT = 409
FILES = Path(__file__).parent / "files"
BUILD_FOLDER = "/shoal-build"
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "sudo", "ca-certificates", "iproute2", "curl",
)  # fmt: skip
DOWNLOADS = ("docker.io", "iptables", "docker-registry", "systemd-timesyncd")
"""Fetched but not installed: nodes are bare, and roles still install these without a network."""
SETTINGS = (
    'CMD ["/usr/local/sbin/lab-init"]',
    "ENV container=docker",
    "WORKDIR /",
    # The builder's own label would pass to the image, and from there to every node.
    f"LABEL {BUILD_LABEL}=done {IMAGE_LABEL}=node",
)


def tag() -> str:
    """The image's name, with a hash of everything it is made from."""
    made_from = [path.read_text(encoding="utf-8") for path in sorted(FILES.iterdir())]
    text = "\n".join([base_archive().name, repr(base_image.release()), *PACKAGES, *DOWNLOADS, *SETTINGS, *made_from])
    return f"{REPOSITORY}:{short_hash(text, 12)}"


def ensure(engine: Engine, say: Say, *, rebuild: bool = False) -> str:
    """The name of the node image, which is in the engine afterwards. Raises ShoalError."""
    name = tag()
    with locked(image_cache.lock_path(), what="the node image", say=say):
        remove_builder(engine)
        if not rebuild and engine.client.images.list(name=name):
            say(f"lab: node image {name} is there already")
            return name
        replaced = [str(image.id) for image in engine.client.images.list(name=name)]
        base = base_image.ensure(engine, say, PACKAGES)
        with stage(say, "building the node image", "node image built"):
            _build(engine, base, name)
        for old in replaced:
            _forget(engine, old)
    return name


def base_archive() -> Path:
    """Where the archive of the base lies that the node image is built on, if that was bootstrapped here."""
    return base_image.archive_path(base_image.release(), PACKAGES)


def remove_builder(engine: Engine) -> None:
    """Remove what an interrupted build left. Raises UsageError where the name is somebody else's."""
    with plain_errors("removing an unfinished build"):
        try:
            container = engine.client.containers.get(builder_name())
        except NotFound:
            return
        if container.labels.get(BUILD_LABEL) != home():
            raise UsageError(
                f"the engine has a container {builder_name()!r} that is not the lab's", hint="remove it yourself"
            )
        _remove(container)


def builder_name() -> str:
    """The container the image is built in. A label is not enough: images inherit it."""
    return f"shoal-build-{home()}"


def _build(engine: Engine, base: str, name: str) -> None:
    files = [inherit.Entry(f"{BUILD_FOLDER}/{path.name}", path.read_bytes()) for path in sorted(FILES.iterdir())]
    variables = f"SHOAL_PACKAGES='{' '.join(PACKAGES)}' SHOAL_DOWNLOADS='{' '.join(DOWNLOADS)}'"
    with plain_errors("building the node image"):
        container = engine.client.containers.create(
            base,
            ["sh", "-c", f"{variables} sh {BUILD_FOLDER}/build-node.sh 2>&1"],
            name=builder_name(),
            labels={BUILD_LABEL: home()},
            network_mode="host",
        )
        try:
            # The host's own sources and credentials: the script removes them before the image is taken.
            container.put_archive(
                "/",
                inherit.archive([*files, *inherit.apt_entries(base_image.release().codename), *inherit.ca_entries()]),
            )
            container.start()
            _follow(container)
            repository, version = name.split(":")
            container.commit(repository, version, changes=list(SETTINGS))
        finally:
            _remove(container)


def _forget(engine: Engine, image: str) -> None:
    try:
        engine.client.images.remove(image)
    except ImageNotFound:
        return
    except APIError as error:
        # Nodes that run from it keep it.
        if error.status_code != HTTP_CONFLICT:
            raise


def _follow(container: Container) -> None:
    last: deque[str] = deque(maxlen=12)
    for chunk in container.logs(stream=True, follow=True):
        last.extend(line for line in chunk.decode(errors="replace").splitlines() if line.strip())
    code = container.wait()["StatusCode"]
    if code != 0:
        text = "\n".join(f"    {line}" for line in last)
        if "No space left on device" in text:
            raise no_space("building the node image")
        raise ShoalError(
            f"building the node image failed (exit {code}); its last lines:\n{text}",
            hint="see that this machine reaches its apt sources (apt-get update), then type the command again",
        )


def _remove(container: Container) -> None:
    with contextlib.suppress(NotFound):
        container.remove(force=True, v=True)
