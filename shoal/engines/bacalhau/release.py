"""The engine's program: from the cache, a bundle, a mirror or its publisher, or a file given by hand.

A release archive is taken only with the publisher's signature. No hash of it is published, so the first one that
was verified is recorded, and another archive of that version is refused from then on.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shoal.artifacts.archives import extract
from shoal.cluster.document import Arch
from shoal.engines.bacalhau import elf, signature
from shoal.errors import Exit, Fault, ShoalError, UsageError
from shoal.files import sha256_file, write_atomic
from shoal.locks import locked
from shoal.paths import cache_dir, state_dir
from shoal.telling import Say, quiet

VERSION = "1.9.3"
"""The release that shoal is made for and tested with."""
SUPPORTED = "1.9."
UPSTREAM = "https://get.bacalhau.org/releases/stable"
"""Where the publisher keeps releases; `SHOAL_BACALHAU_MIRROR` names another place with the same layout."""
CONNECT_TIMEOUT_S = 15
VERSION_TIMEOUT_S = 30
ARCHITECTURES: tuple[Arch, ...] = ("amd64", "arm64")
_MACHINES: dict[str, Arch] = {"x86_64": "amd64", "aarch64": "arm64"}


class Binary(BaseModel):
    """One program in the cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    arch: Arch
    sha256: str
    size_bytes: int
    origin: Literal["release", "given"]
    """`release`: out of an archive that its publisher signed; `given`: handed over by a person."""
    archive_sha256: str | None = None
    added_at: datetime

    @property
    def path(self) -> Path:
        """Where it lies."""
        return _slot(self.arch) / "bacalhau"


def this_machine() -> Arch:
    """This machine's architecture; amd64 where it is neither of those that nodes may have."""
    return _MACHINES.get(platform.machine(), "amd64")


def noted(arch: Arch) -> Binary | None:
    """What the cache says of its program for `arch`, the file itself not looked at."""
    try:
        return Binary.model_validate(json.loads((_slot(arch) / "bacalhau.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None


def cached(arch: Arch) -> Binary | None:
    """The program for `arch` in the cache, checked by its hash; None where there is none or it is damaged."""
    found = noted(arch)
    if found is None or not found.path.is_file() or found.path.stat().st_size != found.size_bytes:
        return None
    return found if sha256_file(found.path) == found.sha256 else None


def resolve(arch: Arch, *, say: Say = quiet) -> Binary:
    """The program for `arch`: from the cache, else the release VERSION from a bundle, a mirror or upstream.

    Raises ShoalError: exit code 4 where it cannot be had; a signature or a recorded hash that is wrong.
    """
    if (found := cached(arch)) is not None:
        return found
    with locked(_slot(arch).with_suffix(".lock"), what=f"Bacalhau for {arch}", say=say):
        if (found := cached(arch)) is not None:
            return found
        with tempfile.TemporaryDirectory(prefix="shoal-bacalhau-") as folder:
            archive = _bring(arch, Path(folder), say)
            return _take_archive(archive, arch, VERSION, Path(folder))


def add(path: Path, *, version: str | None = None, say: Say = quiet) -> Binary:
    """Put a program, or a release archive with its signature beside it, into the cache; it replaces what is there.

    `version` is needed where the program cannot be run here to ask it. Raises UsageError where the file is no such
    thing, or is of a version that shoal does not work with.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    with tempfile.TemporaryDirectory(prefix="shoal-bacalhau-") as folder:
        if path.name.endswith((".tar.gz", ".tgz")):
            beside = path.with_name(f"{path.name}.signature.sha256")
            if not beside.is_file():
                raise UsageError(
                    f"{path} has no signature beside it ({beside.name})",
                    hint="fetch that file too, or unpack the archive yourself and give the program",
                )
            signature.verify(path, beside)
            program = _unpack(path, Path(folder))
            arch = elf.architecture(program)
            return _take_archive(path, arch, _version_of(program, arch, version), Path(folder))
        arch = elf.architecture(path)
        known = _version_of(path, arch, version)
        say(f"Bacalhau {known} for {arch}, given by hand: no signature is checked")
        with locked(_slot(arch).with_suffix(".lock"), what=f"Bacalhau for {arch}", say=say):
            return _place(path, arch, known, origin="given", archive_sha256=None)


def missing(archs: set[Arch]) -> list[Arch]:
    """The architectures for which the cache has no program."""
    return sorted(arch for arch in archs if cached(arch) is None)


def file_name(arch: Arch, version: str = VERSION) -> str:
    """The archive's name as its publisher gives it."""
    return f"bacalhau_v{version}_linux_{arch}.tar.gz"


def check_supported(version: str) -> None:
    """Raise UsageError for a version that shoal does not work with."""
    if not version.startswith(SUPPORTED):
        raise UsageError(
            f"this is Bacalhau {version}; shoal works with {SUPPORTED}x",
            hint="older ones have another licence and another data format, newer ones are not tested",
        )


def folder() -> Path:
    """Where the cache has the engine's programs, one folder per architecture."""
    return cache_dir() / "bacalhau"


def _slot(arch: Arch) -> Path:
    return folder() / arch


def _bring(arch: Arch, folder: Path, say: Say) -> Path:
    """The release archive in `folder`, its signature checked."""
    name = file_name(arch)
    archive, beside = folder / name, folder / f"{name}.signature.sha256"
    tried: list[Fault] = []
    if bundle := os.environ.get("SHOAL_BUNDLE"):
        sources = [Path(bundle) / file.name for file in (archive, beside)]
        if all(source.is_file() for source in sources):
            for source in sources:
                shutil.copyfile(source, folder / source.name)
            signature.verify(archive, beside)
            return archive
        tried.append(Fault(bundle, f"no {name} with its signature"))
    mirror = os.environ.get("SHOAL_BACALHAU_MIRROR")
    for base in [mirror, UPSTREAM] if mirror else [UPSTREAM]:
        try:
            say(f"fetching Bacalhau {VERSION} for {arch} from {base}")
            for file in (beside, archive):  # the small one first: where it is not there, neither is the other
                _download(f"{base.rstrip('/')}/v{VERSION}/{file.name}", file)
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            tried.append(Fault(base, str(getattr(error, "reason", error)) or type(error).__name__))
            continue
        signature.verify(archive, beside)
        return archive
    raise ShoalError(
        f"Bacalhau {VERSION} for {arch} cannot be had",
        faults=tuple(tried),
        hint="`shoal artifacts add bacalhau PATH` takes a program of yours; --engine ssh does without the engine",
        exit_code=Exit.MISSING,
    )


def _download(url: str, target: Path) -> None:
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url} is not an address that can be fetched")
    request = urllib.request.Request(url, headers={"User-Agent": "shoal"})  # noqa: S310  # scheme checked above
    with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S) as answer, target.open("wb") as stream:  # noqa: S310
        shutil.copyfileobj(answer, stream, 1 << 20)
        # An answer that is read in pieces ends in silence where the connection broke.
        promised, came = answer.headers["Content-Length"], stream.tell()
    if promised is not None and int(promised) != came:
        raise http.client.HTTPException(f"{target.name} was cut short: {came} of {promised} bytes came")


def _take_archive(archive: Path, arch: Arch, version: str, folder: Path) -> Binary:
    """Hold the archive to the recorded hash, record it where it is the first, and place its program."""
    digest = sha256_file(archive)
    known = _recorded()
    key = f"{version}/{arch}"
    if known.get(key, digest) != digest:
        raise ShoalError(
            f"{archive.name} is signed, but is not the archive that was verified here before",
            faults=(Fault("recorded", known[key]), Fault("found", digest)),
            hint=f"a release does not change; if its publisher says otherwise, remove the line from {_record_path()}",
        )
    program = _unpack(archive, folder)
    if (found := elf.architecture(program)) != arch:
        raise ShoalError(f"{archive.name} holds a program for {found}, not for {arch}")
    check_supported(version)
    write_atomic(_record_path(), json.dumps({**known, key: digest}, indent=2, sort_keys=True) + "\n")
    return _place(program, arch, version, origin="release", archive_sha256=digest)


def _unpack(archive: Path, folder: Path) -> Path:
    program = folder / "program"
    extract(archive, {"bacalhau": program})
    return program


def _place(
    program: Path, arch: Arch, version: str, *, origin: Literal["release", "given"], archive_sha256: str | None
) -> Binary:
    slot = _slot(arch)
    slot.mkdir(parents=True, exist_ok=True)
    # Copied first and hashed then: what is recorded is what lies there.
    part = slot / ".bacalhau.part"
    shutil.copyfile(program, part)
    part.chmod(0o755)
    binary = Binary(
        version=version,
        arch=arch,
        sha256=sha256_file(part),
        size_bytes=part.stat().st_size,
        origin=origin,
        archive_sha256=archive_sha256,
        added_at=datetime.now(UTC),
    )
    (slot / "bacalhau.json").unlink(missing_ok=True)
    part.replace(binary.path)
    write_atomic(slot / "bacalhau.json", binary.model_dump_json(indent=2) + "\n")
    return binary


def _version_of(program: Path, arch: Arch, said: str | None) -> str:
    """The program's version, asked of itself where this machine can run it. Raises UsageError."""
    found = said
    if _MACHINES.get(platform.machine()) == arch:
        found = _ask(program)
        if said and found != said and not found.startswith("0.0.0"):
            raise UsageError(f"{program} says it is {found}, not {said}")
        if found.startswith("0.0.0"):
            found = said  # built without a version; whoever gives it has to say what it is
    if not found:
        raise UsageError(f"{program} does not tell its version on this machine", hint="say it with --version 1.9.3")
    check_supported(found)
    return found


def _ask(program: Path) -> str:
    # A copy: the file may lie on a file system that nothing is run from. It writes into a folder of its own.
    with tempfile.TemporaryDirectory(prefix="shoal-bacalhau-") as folder:
        copy = Path(folder) / "bacalhau"
        shutil.copyfile(program, copy)
        copy.chmod(0o700)
        environment = {"PATH": os.defpath, "HOME": folder, "BACALHAU_DIR": f"{folder}/data"}
        try:
            done = subprocess.run(
                [str(copy), "version", "--client", "--output", "json"],
                capture_output=True, env=environment, timeout=VERSION_TIMEOUT_S, check=False,
            )  # fmt: skip
            # A first start says so on the same stream; the answer is the last line.
            answer = json.loads(done.stdout.strip().rpartition(b"\n")[2])
            version = answer["clientVersion"]["GitVersion"]
        except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
            raise UsageError(f"{program} is not Bacalhau: it does not answer `version --client`") from None
    return str(version).removeprefix("v")


def _record_path() -> Path:
    return state_dir() / "bacalhau-releases.json"


def _recorded() -> dict[str, str]:
    try:
        raw = json.loads(_record_path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ShoalError(f"{_record_path()} is not JSON", hint="mend or remove it") from None
    return {str(key): str(value) for key, value in raw.items()}
