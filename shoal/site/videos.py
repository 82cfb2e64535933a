"""The videos a run looks at: found in a person's folder, and spread evenly over the compute nodes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from shoal.errors import Fault, UsageError
from shoal.files import sha256_file
from shoal.site import footage
from shoal.telling import Say, quiet

UNKNOWN_LICENCE: Final = "unknown"
MOST_NAMED: Final = 5

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Clip:
    """One video as it is to lie on a node."""

    name: str
    """Path under the node's videos folder, with forward slashes."""
    path: Path
    """The file on this machine."""
    sha256: str
    size_bytes: int
    description: str
    licence: str
    source: str
    """The artefact it was made from, or the folder it was found in."""
    still_photo: bool = False
    """A moving crop of a photo, not footage."""


def assign(items: Sequence[_T], node_names: Sequence[str]) -> dict[str, list[_T]]:
    """Spread `items` over the nodes in order: the first share to the first node; shares differ by at most one.

    With fewer items than nodes the last nodes get none. Raises UsageError where there is no node.
    """
    if not node_names:
        raise UsageError("there is no compute node to give videos to", hint="add one to the cluster document")
    share, extra = divmod(len(items), len(node_names))
    assigned: dict[str, list[_T]] = {}
    start = 0
    for index, node in enumerate(node_names):
        end = start + share + (index < extra)
        assigned[node] = list(items[start:end])
        start = end
    return assigned


def from_directory(folder: Path, *, say: Say = quiet) -> list[Clip]:
    """Every video in `folder` and below, hashed; what else lies there is named. Raises UsageError as `usable` does."""
    paths, passed = _divided(folder)
    if passed:
        shown = ", ".join(_shown(path, folder) for path in passed[:MOST_NAMED])
        more = f" and {len(passed) - MOST_NAMED} more" if len(passed) > MOST_NAMED else ""
        say(f"{len(passed)} files in {folder} are no footage and are left out: {shown}{more}")
    say(f"reading {len(paths)} videos in {folder}")
    return [
        Clip(
            name=path.relative_to(folder).as_posix(),
            path=path,
            sha256=sha256_file(path),
            size_bytes=path.stat().st_size,
            description="your own video",
            licence=UNKNOWN_LICENCE,
            source=str(folder),
        )
        for path in paths
    ]


def usable(folder: Path) -> list[Path]:
    """The videos in `folder` and below, sorted by their path; names are kept as they are.

    Footage is known by its name or by how it begins, as the detector knows it. Hidden files and folders are passed
    over; links are followed, a linked folder once. Raises UsageError (exit 2) for a folder that is missing or holds no
    video, and for files that cannot be read or named, all of them at once.
    """
    return _divided(folder)[0]


def _divided(folder: Path) -> tuple[list[Path], list[Path]]:
    """The videos, and the files that are no footage."""
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"the videos folder {folder} {what}")
    files, faults = _walk(folder)
    candidates = [path for path in files if _is_footage(path)]
    for path in candidates:
        faults += _file_faults(path, folder)
    if faults:
        raise UsageError(
            f"some videos in {folder} cannot be used",
            faults=tuple(faults),
            hint="rename or remove them, or make them readable",
        )
    if not candidates:
        names = ", ".join(sorted(footage.VIDEO_NAMES))
        raise UsageError(
            f"there is no video in {folder}",
            hint=f"videos are known by how their files begin, or by the end of their names: {names}",
        )
    return candidates, sorted(set(files) - set(candidates))


def _is_footage(path: Path) -> bool:
    by_name = footage.kind_by_name(path.name)
    if by_name is not None or not path.is_file():
        return by_name == "video"
    try:
        with path.open("rb") as stream:
            return footage.begins_like_video(stream.read(footage.HEAD_BYTES))
    except OSError:
        return False


def _walk(folder: Path) -> tuple[list[Path], list[Fault]]:
    """All files that are not hidden, sorted by the bytes of their paths."""
    unlisted: list[OSError] = []
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=unlisted.append):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in files if not name.startswith(".")]
    faults = [Fault(_shown(Path(error.filename), folder), f"cannot be listed: {error.strerror}") for error in unlisted]
    return sorted(found, key=lambda path: os.fsencode(path.relative_to(folder))), faults


def _file_faults(path: Path, folder: Path) -> list[Fault]:
    where, name = _shown(path, folder), str(path.relative_to(folder))
    faults = []
    if "�" in where or any(ord(character) < 0x20 or ord(character) == 0x7F for character in name):
        faults.append(Fault(where, "its name holds control characters or is not UTF-8"))
    if not path.exists():
        faults.append(Fault(where, "is a broken link"))
    elif not path.is_file():
        faults.append(Fault(where, "is not a regular file"))
    elif not os.access(path, os.R_OK):
        faults.append(Fault(where, "may not be read by this user"))
    return faults


def _shown(path: Path, folder: Path) -> str:
    """The path below `folder` as text that can always be printed."""
    text = os.fsencode(path.relative_to(folder)).decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "�" for character in text)
