"""Facts of role `videos`."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roles.common.facts import NodeFact
from roles.videos.cameras import MARK, Camera

FILES = Path(__file__).parent / "files"
SCRIPT = (Path(__file__).parent / "state.py").read_text(encoding="utf-8")

FileState = tuple[int, int, int]


@dataclass(frozen=True)
class FolderFact:
    """The videos folder of a node."""

    exists: bool = False
    files: dict[str, FileState] = field(default_factory=dict)
    """Name under the folder -> size in bytes (-1: no regular file), modification time in nanoseconds, inode."""
    folders: frozenset[str] = frozenset()
    """Subfolders, by their path under the folder."""
    inodes: bool = True
    """Whether the file system keeps the numbers of its files."""
    marker: str | None = None
    """Text of our marker file, None where there is none."""
    hashes: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the files that were asked for."""
    free_bytes: int = 0


def _numbers(value: Any) -> FileState:
    if not isinstance(value, list) or any(type(one) is not int or abs(one) >= 1 << 64 for one in value):
        raise TypeError("three whole numbers are needed")
    size, mtime, inode = value
    return size, mtime, inode


def _text(value: Any) -> str:
    # Halves of characters are well here: names of files may hold anything.
    if not isinstance(value, str):
        raise TypeError("a text is needed")
    return value


class VideosState(NodeFact[FolderFact]):
    """What is in the folder; sizes and times of all, and hashes of the named ones only."""

    def requires_command(self, *args: Any, **kwargs: Any) -> str:
        """Put there by role `base`."""
        del args, kwargs
        return "python3"

    def command(self, folder: str, marker: str, names: tuple[str, ...] = ()) -> str:
        """One small program, because names may hold anything but a slash."""
        return shlex.join(["python3", "-c", SCRIPT, folder, marker, *names])

    @staticmethod
    def default() -> FolderFact:
        """Nothing is there yet."""
        return FolderFact()

    def read(self, output: list[str]) -> FolderFact:
        """One line of JSON."""
        raw = json.loads(output[-1])
        return FolderFact(
            exists=bool(raw["exists"]),
            files={name: _numbers(state) for name, state in raw["files"].items()},
            folders=frozenset(map(_text, raw["folders"])),
            inodes=bool(raw["inodes"]),
            marker=None if raw["marker"] is None else _text(raw["marker"]),
            hashes={name: _text(sha256) for name, sha256 in raw["hashes"].items()},
            free_bytes=_numbers([raw["free_bytes"], 0, 0])[0],
        )


@dataclass(frozen=True, slots=True)
class PlaceFact:
    """One place under the videos folder where a camera folder is to be shown."""

    source: str
    """`there` or `missing`."""
    shows: str
    """`it` (the camera folder), `other` (another mount), `files` (no mount, and not empty), `nothing`."""
    options: str
    """Of the mount, as the kernel gives them."""

    @property
    def right(self) -> bool:
        """The camera folder, read-only."""
        return self.shows == "it" and "ro" in self.options.split(",")


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A mount's unit that is ours."""

    sha256: str
    where: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class CamerasFact:
    """The mounts of camera folders on a node."""

    units: dict[str, UnitFile] = field(default_factory=dict)
    """By the name of the unit."""
    places: dict[str, PlaceFact] = field(default_factory=dict)
    """By the place under the videos folder."""
    theirs: dict[str, str] = field(default_factory=dict)
    """Units that bear the name of one of ours and are somebody else's: name -> file."""


class CameraMounts(NodeFact[CamerasFact]):
    """Units of ours and what is shown at each place, read with one command."""

    def command(self, cameras: tuple[Camera, ...] = ()) -> str:
        """A shell program of three words for each; paths hold no blanks, the cluster document sees to that."""
        words = [word for camera in cameras for word in (camera.source, camera.target, camera.unit)]
        return f"set -- {shlex.join([MARK, *words])}\n{(FILES / 'mounts.sh').read_text(encoding='utf-8')}"

    @staticmethod
    def default() -> CamerasFact:
        """No unit and no mount."""
        return CamerasFact()

    def read(self, output: list[str]) -> CamerasFact:
        """Lines `unit NAME SHA256 WHERE ENABLED`, `place TARGET SOURCE SHOWS OPTIONS` and `theirs NAME FILE`."""
        units, places, theirs = dict[str, UnitFile](), dict[str, PlaceFact](), dict[str, str]()
        for line in output:
            kind, name, *rest = line.split(" ")
            if kind == "unit":
                units[name] = UnitFile(rest[0], rest[1], enabled=rest[2] == "enabled")
            elif kind == "place":
                places[name] = PlaceFact(*rest)
            elif kind == "theirs":
                theirs[name] = rest[0]
        return CamerasFact(units, places, theirs)


class Ownership(NodeFact[tuple[str, str] | None]):
    """Octal mode and `user:group` of a path; None where nothing is there."""

    def command(self, path: str) -> str:
        """A link's own, not its target's."""
        return f"stat -c '%a %U:%G' {shlex.quote(path)} 2>/dev/null || true"

    def read(self, output: list[str]) -> tuple[str, str]:
        """One line."""
        mode, owner = output[0].split(" ")
        return mode, owner
