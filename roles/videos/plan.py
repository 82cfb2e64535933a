"""What has to be done with the clips of a node: pure functions of what is there, what is on record and what is wanted.

A clip is ours when the record says that we placed it and the file under its name still is that very file: its inode and
its SHA-256. Whatever else lies there is somebody's footage, and is neither overwritten nor deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from roles.videos.defaults import VideoFile
from roles.videos.facts import FileState, FolderFact


@dataclass(frozen=True, slots=True)
class Known:
    """One clip as the record has it."""

    sha256: str
    size_bytes: int
    mtime_ns: int
    inode: int = 0
    """0 where it is not known: claimed and not placed yet, or recorded by an earlier version."""
    former_sha256: str = ""
    """Of the clip of ours that this one replaces; it may still lie there where a deploy was cut off."""
    found: bool = False
    """It lay there before us, with the right content: it serves, and is not ours."""

    def same(self, there: FileState) -> bool:
        """Whether size, time and inode are those on record, so that the content need not be read again."""
        return (self.size_bytes, self.mtime_ns) == there[:2] and self.inode in {0, there[2]}


@dataclass
class Marker:
    """The record: which clips are ours, and what of the folder is."""

    files: dict[str, Known] = field(default_factory=dict)
    made_folder: bool = False
    made_folders: list[str] | None = None
    """Subfolders that were made for our clips, None where an earlier version kept no list."""
    folder_before: str = ""
    """`mode user:group` of the folder where a knob changed them."""


@dataclass
class Plan:
    """Names by what is to be done with them."""

    place: list[VideoFile] = field(default_factory=list)
    replace: dict[str, str] = field(default_factory=dict)
    """Those of `place` that take the place of a former clip of ours: name -> its SHA-256."""
    remove: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Wanted names under which something else lies that is not ours."""
    left: list[str] = field(default_factory=list)
    """Names on record that are not wanted any more, under which something lies that is not ours."""
    found: list[str] = field(default_factory=list)
    """Wanted ones that somebody else put there before us, with the right content."""
    remember: bool = False
    """Whether the record has to be written although no clip moves."""


def read_marker(text: str | None) -> Marker:
    """The record; an empty one where there is none or it is damaged: nothing is ours then."""
    if not text:
        return Marker()
    try:
        raw = json.loads(text)
        files = {name: Known(**entry) for name, entry in raw["files"].items()}
        made = raw.get("made_folders")
        return Marker(files, bool(raw["made_folder"]), made, str(raw.get("folder_before", "")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Marker()


def render_marker(marker: Marker) -> str:
    """The record's text."""
    document = {
        "files": {name: asdict(known) for name, known in sorted(marker.files.items())},
        "made_folder": marker.made_folder,
        "made_folders": marker.made_folders,
        "folder_before": marker.folder_before,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def doubtful(state: FolderFact, marker: Marker, wanted: Iterable[VideoFile]) -> list[str]:
    """Files that have to be read to know whose they are: wanted ones that are not plainly right, and ours that go.

    A clip whose size, time and inode are those on record is not read again: clips are large. One that is to be deleted
    or replaced is, whatever its size and time.
    """
    names = []
    wanted_names = set()
    for file in wanted:
        wanted_names.add(file.name)
        there, known = state.files.get(file.name), marker.files.get(file.name)
        if there is None or there[0] < 0:
            continue
        if known is None:
            if there[0] == file.size_bytes:
                names.append(file.name)
        elif known.sha256 != file.sha256 or not known.same(there):
            names.append(file.name)
    return names + ours_to_read(state, marker, without=wanted_names)


def ours_to_read(state: FolderFact, marker: Marker, *, without: Iterable[str] = ()) -> list[str]:
    """Names on record under which a file lies that may be ours, less those named."""
    skipped = set(without)
    return [
        name
        for name, known in marker.files.items()
        if name not in skipped and not known.found and state.files.get(name, (-1, 0, 0))[0] >= 0
    ]


def is_ours(state: FolderFact, known: Known, name: str, sha256: str | None) -> bool:
    """Whether the file under a name on record is the one we placed: its content, and its inode where that is known and
    the file system keeps it."""
    there = state.files[name]
    if known.found or sha256 not in {known.sha256, known.former_sha256}:
        return False
    return not state.inodes or known.inode in {0, there[2]}


def plan(state: FolderFact, marker: Marker, wanted: Iterable[VideoFile], hashes: Mapping[str, str]) -> Plan:
    """What to place, what to remove, and what stands in the way. `hashes` are those of the `doubtful` ones."""
    result = Plan()
    names = set()
    for file in wanted:
        names.add(file.name)
        there, known = state.files.get(file.name), marker.files.get(file.name)
        if there is None:
            result.place.append(file)
        elif hashes.get(file.name) == file.sha256:
            # The same bytes in another file than the one we placed: somebody put it there.
            if known is None or (known.inode and state.inodes and known.inode != there[2]):
                result.found.append(file.name)
            result.remember = True
        elif known is not None and known.sha256 == file.sha256 and known.same(there) and file.name not in hashes:
            continue
        elif known is not None and is_ours(state, known, file.name, hashes.get(file.name)):
            result.replace[file.name] = hashes[file.name]
            result.place.append(file)
        else:
            result.foreign.append(file.name)
    gone = [name for name in marker.files if name not in names]
    for name in sorted(name for name in gone if name in state.files):
        ours = is_ours(state, marker.files[name], name, hashes.get(name))
        if ours:
            result.remove.append(name)
        elif not marker.files[name].found:
            result.left.append(name)
    result.remember |= bool(gone) or bool(result.place)
    return result


def remembered(after: FolderFact, before: Marker, wanted: Iterable[VideoFile], done: Plan) -> Marker:
    """The record once the clips lie there."""
    placed = {file.name for file in done.place}
    others = {*done.found, *(name for name, known in before.files.items() if known.found and name not in placed)}
    files = {}
    for file in wanted:
        if (there := after.files.get(file.name)) is not None:
            files[file.name] = Known(file.sha256, *there, found=file.name in others)
    return Marker(files, before.made_folder, before.made_folders, before.folder_before)
