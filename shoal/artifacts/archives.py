"""Take single files out of package files (wheel, tar, deb) without unpacking the rest."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from shoal.artifacts import process
from shoal.errors import Fault, ShoalError


def extract(archive: Path, members: Mapping[str, Path]) -> None:
    """Write each named member of `archive` to its path; links and anything but plain files are refused.

    Raises ShoalError where the archive is damaged or lacks a member (all of them named), OSError where it cannot be
    written.
    """
    try:
        if archive.suffix == ".deb":
            missing = _from_deb(archive, dict(members))
        elif zipfile.is_zipfile(archive):
            missing = _from_zip(archive, dict(members))
        else:
            with tarfile.open(archive) as tar:
                missing = _from_tar(tar, dict(members))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ShoalError(f"{archive.name} is damaged: {error}") from error
    if missing:
        raise ShoalError(
            f"{archive.name} does not hold what was expected",
            faults=tuple(Fault(member, "no such file in the package") for member in sorted(missing)),
        )


def _from_tar(tar: tarfile.TarFile, wanted: dict[str, Path]) -> set[str]:
    for entry in tar:
        target = wanted.get(entry.name.removeprefix("./"))
        content = tar.extractfile(entry) if target and entry.isfile() else None
        if target and content:
            _write(content, target)
            del wanted[entry.name.removeprefix("./")]
            if not wanted:
                break
    return set(wanted)


def _from_zip(archive: Path, wanted: dict[str, Path]) -> set[str]:
    with zipfile.ZipFile(archive) as package:
        for member in [name for name in wanted if name in package.NameToInfo]:
            with package.open(member) as content:
                _write(content, wanted.pop(member))
    return set(wanted)


def _from_deb(archive: Path, wanted: dict[str, Path]) -> set[str]:
    try:
        reader = subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise process.client_missing("dpkg-deb") from None
    try:
        with tarfile.open(fileobj=reader.stdout, mode="r|") as tar:
            return _from_tar(tar, wanted)
    finally:
        # The rest of the archive, some hundred MB, is of no use once the members are out.
        reader.kill()
        reader.communicate()


def _write(content: IO[bytes], target: Path) -> None:
    with target.open("wb") as stream:
        shutil.copyfileobj(content, stream, 1 << 20)
