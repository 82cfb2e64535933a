"""What has to be done with the clips of a node: a pure function of what is there and what is wanted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from roles.videos.defaults import VideoFile
from roles.videos.facts import FolderFact


@dataclass(frozen=True, slots=True)
class Known:
    """One clip of ours as the marker has it."""

    sha256: str
    size_bytes: int
    mtime_ns: int


@dataclass
class Marker:
    """The marker file: which clips are ours, and whether the folder is."""

    files: dict[str, Known] = field(default_factory=dict)
    made_folder: bool = False


@dataclass
class Plan:
    """Names by what is to be done with them."""

    place: list[VideoFile] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Wanted names under which something else lies that is not ours."""
    remember: bool = False
    """Whether the marker has to be written although no clip moves."""


def read_marker(text: str | None) -> Marker:
    """The marker; an empty one where there is none or it is damaged: hashes then tell what is ours."""
    if not text:
        return Marker()
    try:
        raw = json.loads(text)
        files = {name: Known(**entry) for name, entry in raw["files"].items()}
        return Marker(files, bool(raw["made_folder"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Marker()


def render_marker(marker: Marker) -> str:
    """The marker's text."""
    files = {
        name: {"sha256": known.sha256, "size_bytes": known.size_bytes, "mtime_ns": known.mtime_ns}
        for name, known in sorted(marker.files.items())
    }
    return json.dumps({"files": files, "made_folder": marker.made_folder}, ensure_ascii=False, indent=1) + "\n"


def doubtful(state: FolderFact, marker: Marker, wanted: Iterable[VideoFile]) -> list[str]:
    """Wanted files that are there with the right size, but are not known to be the right ones: to be hashed.

    A clip whose size and time are those in the marker is not read again: clips are large.
    """
    names = []
    for file in wanted:
        there, known = state.files.get(file.name), marker.files.get(file.name)
        if there is None or there[0] != file.size_bytes:
            continue
        if known is None or known.sha256 != file.sha256 or (known.size_bytes, known.mtime_ns) != there:
            names.append(file.name)
    return names


def plan(state: FolderFact, marker: Marker, wanted: Iterable[VideoFile], hashes: Mapping[str, str]) -> Plan:
    """What to place, what to remove, and what stands in the way."""
    result = Plan()
    names = set()
    for file in wanted:
        names.add(file.name)
        there, known = state.files.get(file.name), marker.files.get(file.name)
        if file.name in hashes:
            right = hashes[file.name] == file.sha256
            result.remember |= right
        else:
            right = (
                there is not None
                and known is not None
                and known.sha256 == file.sha256
                and (
                    known.size_bytes,
                    known.mtime_ns,
                )
                == there
            )
        if right:
            continue
        if there is not None and known is None:
            result.foreign.append(file.name)
        else:
            result.place.append(file)
    gone = [name for name in marker.files if name not in names]
    result.remove = sorted(name for name in gone if name in state.files)
    result.remember |= bool(gone) or bool(result.place)
    return result
