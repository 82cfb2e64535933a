"""The bare distribution as an image: cached, pulled where a registry answers, else bootstrapped."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from shoal.errors import Exit, ShoalError
from shoal.files import write_atomic
from shoal.lab import apt, host, image_cache, mounts
from shoal.lab.client import PING_TIMEOUT_S, Engine, no_space, plain_errors
from shoal.lab.names import IMAGE_LABEL, short_hash
from shoal.telling import Say, stage

REPOSITORY = "shoal/base"
DEFAULT_CODENAME = "bookworm"
"""Debian 12, where the host itself is no Debian or Ubuntu and a registry answers."""
REGISTRY_TIMEOUT_S = PING_TIMEOUT_S
FALLBACK_KEYRINGS = {
    "debian": Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    "ubuntu": Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
}
# What a machine in the lab never reads; dpkg leaves it out already while unpacking.
DPKG_SETTINGS = (
    "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n"
)
UNREAD = (
    "./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*", "./dev/*", "./proc/*", "./sys/*",
    "./usr/share/man/*", "./usr/share/locale/*", "./usr/share/doc/*/changelog*",
)  # fmt: skip
"""Left out of the archive. The first packages of a bootstrap are unpacked before dpkg reads its settings."""


@dataclass(frozen=True, slots=True)
class Release:
    """The distribution that nodes run: the host's own."""

    distribution: str
    codename: str

    @property
    def registry_image(self) -> str:
        """The same release as a registry has it."""
        return f"debian:{self.codename}-slim" if self.distribution == "debian" else f"ubuntu:{self.codename}"


def release() -> Release:
    """The host's release if it is Debian or Ubuntu, else Debian's."""
    fields = host.os_release()
    if fields.get("ID") in ("debian", "ubuntu") and fields.get("VERSION_CODENAME"):
        return Release(fields["ID"], fields["VERSION_CODENAME"])
    return Release("debian", DEFAULT_CODENAME)


def ensure(engine: Engine, say: Say, packages: tuple[str, ...]) -> str:
    """The id of a base image in the engine; bootstrapped ones have `packages` already. Raises ShoalError."""
    wanted = release()
    tag = f"{REPOSITORY}:{wanted.codename}-{_key(wanted, packages)}"
    if there := _image(engine.client, tag):
        return there
    kept = archive_path(wanted, packages)
    if not kept.exists():
        if registry_answers(engine.url, wanted.registry_image):
            return _pull(engine, say, wanted, tag)
        _bootstrap(say, wanted, packages, kept)
    with stage(say, "importing the base image", "base image imported"), plain_errors("importing the base image"):
        _import(engine.client, kept, tag)
    image = _image(engine.client, tag)
    if image is None:
        raise ShoalError(f"the engine took {kept} but does not have {tag}", hint=f"delete {kept} and try again")
    return image


def archive_path(wanted: Release, packages: tuple[str, ...]) -> Path:
    """Where the archive of a base that was bootstrapped here is kept; its name says what it was made from."""
    return image_cache.folder() / f"base-{_key(wanted, packages)}.tar"


def _key(wanted: Release, packages: tuple[str, ...]) -> str:
    return short_hash(f"base-3 {wanted} {' '.join(packages)} {DPKG_SETTINGS} {UNREAD}", 12)


def registry_answers(url: str, image: str) -> bool:
    """Whether the engine reaches a registry that has `image`; a 'no' costs a few seconds at most."""
    try:
        client = docker.DockerClient(base_url=url, version="auto", timeout=REGISTRY_TIMEOUT_S)  # type: ignore[arg-type]
        with closing(client):
            client.images.get_registry_data(image)
    except (APIError, DockerException, RequestException):
        return False
    return True


def _pull(engine: Engine, say: Say, wanted: Release, tag: str) -> str:
    name = wanted.registry_image
    repository, version = name.split(":")
    known = bool(engine.client.images.list(name=name))
    with stage(say, f"pulling {name}", f"{name} pulled"), plain_errors(f"pulling {name}"):
        image = engine.client.images.pull(repository, version)
        image.tag(*tag.split(":"))
        if not known:
            # Only the name: the image stays under the lab's own, which `down --purge` removes.
            engine.client.images.remove(name)
    return str(image.id)


def _bootstrap(say: Say, wanted: Release, packages: tuple[str, ...], archive: Path) -> None:
    source = _require_bootstrap(wanted)
    folder = image_cache.folder()
    folder.mkdir(parents=True, exist_ok=True)
    root, log = folder / f"{archive.stem}.root", folder / f"{archive.stem}.log"
    part = archive.with_suffix(".tar.part")
    mounts.remove_tree(root)
    try:
        with stage(say, f"bootstrapping {wanted.codename} from {_shown(source)}", f"{wanted.codename} bootstrapped"):
            (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
            (root / "etc/dpkg/dpkg.cfg.d/shoal-build").write_text(DPKG_SETTINGS, encoding="utf-8")
            _debootstrap(wanted, source, packages, root, log)
            _pack(root, part)
            part.replace(archive)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise no_space("bootstrapping the base image") from error
        raise ShoalError(f"bootstrapping the base image failed: {error}") from error
    finally:
        part.unlink(missing_ok=True)
        mounts.remove_tree(root)
        mounts.remove_tree(root.with_suffix(".home"))
    log.unlink(missing_ok=True)


def _require_bootstrap(wanted: Release) -> apt.Source:
    hint = "or let the engine reach a registry that has " + wanted.registry_image
    if shutil.which("debootstrap", path=_path()) is None:
        raise ShoalError(
            "the base image cannot be made: no registry answers and debootstrap is not installed",
            hint=f"install it (apt-get install debootstrap), {hint}",
            exit_code=Exit.MISSING,
        )
    if os.geteuid() != 0:
        raise ShoalError(
            "the base image cannot be made: no registry answers and debootstrap needs root",
            hint=f"run the command as root, {hint}",
            exit_code=Exit.MISSING,
        )
    source = apt.bootstrap_source(apt.distribution_sources(apt.read_sources(), wanted.codename), wanted.codename)
    if source is None:
        raise ShoalError(
            f"the base image cannot be made: no registry answers and apt has no http, https or file source "
            f"for {wanted.codename}",
            hint=f"add one to /etc/apt/sources.list, {hint}",
            exit_code=Exit.MISSING,
        )
    return source


def _debootstrap(wanted: Release, source: apt.Source, packages: tuple[str, ...], root: Path, log: Path) -> None:
    keyring = source.keyring or FALLBACK_KEYRINGS.get(wanted.distribution)
    checked = ["--no-check-gpg"] if source.options.get("Trusted", "").lower() in ("yes", "true", "1") else []
    if keyring and keyring.exists() and not checked:
        checked = ["--keyring", str(keyring)]
    command = [
        # Ends with this process, children and mounts included: a killed `up` leaves no bootstrap at work.
        "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child",
        "debootstrap", "--variant=minbase", f"--include={','.join(packages)}",
        f"--components={','.join(source.components)}",
        *checked, wanted.codename, str(root), apt.split_credentials(source.uris[0])[0],
    ]  # fmt: skip
    environment = {**os.environ, **_proxies(), "PATH": _path(), "LC_ALL": "C.UTF-8"}
    if logins := apt.netrc([source], apt.read_credentials()):
        home = root.with_suffix(".home")
        write_atomic(home / ".netrc", logins, mode=0o600)
        environment["HOME"] = str(home)
    with log.open("wb") as output:
        done = subprocess.run(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment, check=False
        )
    if done.returncode != 0:
        text = log.read_text(encoding="utf-8", errors="replace") + _debootstrap_log(root)
        if "No space left on device" in text:
            raise no_space("bootstrapping the base image")
        lines = [line for line in text.splitlines() if line.strip()][-8:]
        raise ShoalError(
            f"debootstrap of {wanted.codename} from {_shown(source)} failed (exit {done.returncode}):\n"
            + "\n".join(f"    {line}" for line in lines),
            hint=f"see that this machine reaches its apt source (apt-get update); the whole log is {log}",
        )


def _pack(root: Path, archive: Path) -> None:
    unread = [f"--exclude={pattern}" for pattern in UNREAD]
    command = ["tar", "-C", str(root), "--numeric-owner", *unread, "-cf", str(archive), "."]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        if "No space left on device" in done.stderr:
            raise no_space("packing the base image")
        raise ShoalError(f"packing the base image failed: {done.stderr.strip()}")


def _import(client: docker.DockerClient, archive: Path, tag: str) -> None:
    repository, version = tag.split(":")
    client.api.import_image_from_file(
        str(archive), repository=repository, tag=version, changes=[f"LABEL {IMAGE_LABEL}=base", 'CMD ["bash"]']
    )


def _image(client: docker.DockerClient, tag: str) -> str | None:
    found = client.images.list(name=tag)
    return str(found[0].id) if found else None


def _proxies() -> dict[str, str]:
    """apt's proxies for the downloader, unless the environment names its own."""
    settings = apt.read_fetch_settings()
    found = {}
    for scheme in ("http", "https"):
        proxy = settings.get(f"Acquire::{scheme}::Proxy") or settings.get(f"Acquire::{scheme}::proxy")
        if proxy and proxy != "DIRECT" and f"{scheme}_proxy" not in os.environ:
            found[f"{scheme}_proxy"] = proxy
    return found


def _shown(source: apt.Source) -> str:
    return apt.split_credentials(source.uris[0])[0]


def _debootstrap_log(root: Path) -> str:
    path = root / "debootstrap" / "debootstrap.log"
    return path.read_text(encoding="utf-8", errors="replace")[-4000:] if path.exists() else ""


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
