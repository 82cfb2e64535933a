"""Operations of role `videos`."""

from __future__ import annotations

import hashlib
import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.notes import left, will
from roles.common.operations import Commands, failure, upload, write_text
from roles.videos.cameras import Camera
from roles.videos.defaults import VideoFile
from roles.videos.facts import CameraMounts, CamerasFact, FolderFact, Ownership, UnitFile, VideosState
from roles.videos.plan import (
    Known,
    Marker,
    Plan,
    doubtful,
    is_ours,
    ours_to_read,
    plan,
    read_marker,
    remembered,
    render_marker,
)

UNITS = PurePosixPath("/etc/systemd/system")
TAKE = (Path(__file__).parent / "take.py").read_text(encoding="utf-8")
NAMED = 10
"""So many names at most are named one by one."""
HASH_BATCH = 200
"""So many names at most go into one command line."""
SPARE_BYTES = 64 << 20
"""Room that placing clips must leave."""


@operation()
def folder(path: str, owner: str | None, mode: str | None, marker: str) -> Commands:
    """The videos folder; one that is there keeps what no knob asks for."""
    state = host.get_fact(VideosState, folder=path, marker=marker)
    known = read_marker(state.marker)
    there = host.get_fact(Ownership, path=path)
    quoted = shlex.quote(path)
    if there is None:
        known.made_folder, known.made_folders = True, known.made_folders or []
        will(f"make the folder {path}")
        yield write_text(marker, render_marker(known))
        yield (
            f"umask 022; mkdir -p {quoted} && chown {shlex.quote(owner or 'root:root')} {quoted} && "
            f"chmod {mode or '750'} {quoted}"
        )
        return
    there_mode, there_owner = there
    changes = [
        *([f"chown {shlex.quote(owner)} {quoted}"] if owner is not None and owner != there_owner else []),
        *([f"chmod {mode} {quoted}"] if mode is not None and mode.lstrip("0") != there_mode else []),
    ]
    if changes and not known.made_folder and not known.folder_before:
        known.folder_before = f"{there_mode} {there_owner}"
        yield from _write_marker(marker, known)
    if changes:
        will(f"{path}: {there_mode} {there_owner} becomes {mode or there_mode} {owner or there_owner}")
    yield from changes


@operation()
def clips(folder: str, files: tuple[VideoFile, ...], marker: str, group: str = "root") -> Commands:
    """Ours that are missing or outdated are placed, ours that are not wanted any more removed, others' left alone.

    Footage is for root and `group`: a job's container reads it whoever it belongs to.
    """
    state, known, todo = planned(host, folder, files, marker)
    if faults := placing_faults(state, todo, folder):
        yield failure("; ".join(faults))
        return
    if todo.place:
        will(f"place {_clips([file.name for file in todo.place])} in {folder}")
    for name in todo.left:
        left(f"{folder}/{name}: it was ours, and another file lies there now")
    if todo.remove:
        will(f"remove {_clips(todo.remove)} of ours from {folder}, which are not wanted any more")
    if todo.remove:
        yield from _taken(folder, state, todo.remove)
        yield _prune(folder, todo.remove, known)
    made = known.made_folders
    if todo.place:
        # Claimed before they come: cut off in between, what lies there is still known to be ours.
        claimed = {
            file.name: Known(file.sha256, file.size_bytes, 0, former_sha256=todo.replace.get(file.name, ""))
            for file in todo.place
        }
        made = _new_folders(state, known, todo.place)
        yield from _write_marker(
            marker, Marker({**known.files, **claimed}, known.made_folder, made, known.folder_before)
        )
    for file in todo.place:
        yield from upload(
            str(file.path),
            file.sha256,
            str(PurePosixPath(folder) / file.name),
            replaces=todo.replace.get(file.name, ""),
            mode="640",
            owner=f"root:{group}",
        )
    if todo.remember:
        after = host.get_fact(VideosState, folder=folder, marker=marker)
        known.made_folders = made
        yield from _write_marker(marker, remembered(after, known, files, todo))


def planned(target: Host, folder: str, files: Sequence[VideoFile], marker: str) -> tuple[FolderFact, Marker, Plan]:
    """The folder of a host as it is, the record, and what a deploy would do with its clips."""
    state = target.get_fact(VideosState, folder=folder, marker=marker)
    known = read_marker(state.marker)
    return state, known, plan(state, known, files, _hashes(target, folder, marker, doubtful(state, known, files)))


def _clips(names: Sequence[str]) -> str:
    """How many, and which."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} clip{'s' if len(names) > 1 else ''} ({', '.join(names[:NAMED])}{more})"


def placing_faults(state: FolderFact, todo: Plan, folder: str) -> list[str]:
    """Why the clips cannot be placed: others' files in their way, or no room."""
    found = []
    if todo.foreign:
        names = ", ".join(map(repr, todo.foreign))
        found.append(
            f"in {folder} there are files with the names of ours but not from us: {names}; move or rename them"
        )
    needed = sum(file.size_bytes for file in todo.place) + SPARE_BYTES
    if todo.place and state.exists and state.free_bytes < needed:
        found.append(f"no space left in {folder}: {needed >> 20} MiB are needed, {state.free_bytes >> 20} MiB are free")
    return found


@operation()
def clips_absent(folder: str, marker: str) -> Commands:
    """Our clips, then the folder if it is ours and empty, then the record. What is not ours is named and stays."""
    state = host.get_fact(VideosState, folder=folder, marker=marker)
    if state.marker is None:
        host.noop("nothing here is ours")
        return
    known = read_marker(state.marker)
    hashes = _hashes(host, folder, marker, ours_to_read(state, known))
    there = sorted(name for name in known.files if name in state.files)
    ours = [name for name in there if is_ours(state, known.files[name], name, hashes.get(name))]
    for name in there:
        if name not in ours and not known.files[name].found:
            left(f"{folder}/{name}: another file lies there than the clip that shoal placed")
    if ours:
        will(f"remove {_clips(ours)} from {folder}")
        yield from _taken(folder, state, ours)
    if known.files:
        yield _prune(folder, sorted(known.files), known)
    quoted = shlex.quote(folder)
    if known.made_folder and state.exists:
        yield f"rmdir --ignore-fail-on-non-empty -- {quoted}"
    elif known.folder_before and state.exists:
        mode, owner = known.folder_before.split()
        yield f"chown {shlex.quote(owner)} {quoted} && chmod {shlex.quote(mode)} {quoted}"
    yield f"rm -f {shlex.quote(marker)}"


@operation()
def cameras(wanted: tuple[Camera, ...]) -> Commands:
    """Each camera folder shown read-only, now and after a boot; mounts of ours that are not wanted any more go."""
    state = host.get_fact(CameraMounts, cameras=wanted)
    if faults := mount_faults(wanted, state):
        yield failure("; ".join(faults))
        return
    places, units = state.places, state.units
    # Where the owner shows the very folder there himself, read-only, his mount serves.
    wanted = tuple(camera for camera in wanted if camera.unit not in state.theirs)
    names = {camera.unit for camera in wanted}
    for camera in wanted:
        if not places[camera.target].right:
            will(f"show {camera.source} at {camera.target}, read-only, now and after a boot ({camera.unit})")
    yield from _unmounted({unit: file for unit, file in units.items() if unit not in names})
    written = False
    for camera in wanted:
        unit = units.get(camera.unit)
        if unit is None or unit.sha256 != hashlib.sha256(camera.text.encode()).hexdigest():
            yield write_text(str(UNITS / camera.unit), camera.text)
            written = True
    if written:
        yield "systemctl daemon-reload"
    for camera in wanted:
        unit, quoted = units.get(camera.unit), shlex.quote(camera.unit)
        if unit is None or not unit.enabled:
            yield f"systemctl enable --quiet {quoted}"
        # The mount counts and not the unit's age: one whose text was only reworded is not taken from a running job.
        if not places[camera.target].right:
            yield (
                f"mkdir -p {shlex.quote(camera.target)} && "
                f"systemctl restart {quoted} || {{ systemctl status --no-pager --lines=20 {quoted} >&2; exit 1; }}"
            )


@operation()
def cameras_absent() -> Commands:
    """No mount of ours, and no empty folder of one; the footage stays where it is."""
    state = host.get_fact(CameraMounts)
    if not state.units:
        host.noop("no camera folder is mounted by us")
        return
    yield from _unmounted(state.units)


def mount_faults(wanted: Sequence[Camera], state: CamerasFact) -> list[str]:
    """What keeps camera folders from being shown: what is somebody else's is neither hidden nor replaced."""
    found = []
    for camera in wanted:
        place = state.places[camera.target]
        if place.source == "missing":
            found.append(no_folder(camera.source))
        elif place.shows == "files":
            found.append(f"in {camera.target} there are files, which a camera folder would hide; move them away")
        elif place.shows == "other" and camera.unit not in state.units:
            found.append(f"at {camera.target} something is mounted that is not ours; unmount it")
        elif (unit := state.theirs.get(camera.unit)) and not place.right:
            found.append(
                f"{unit} is a mount unit that is not ours, for {camera.target}; take it away, or have it show "
                f"{camera.source} there, read-only: then it serves"
            )
    return found


def no_folder(source: str) -> str:
    """The message about a camera folder that is not on the machine."""
    return (
        f"there is no camera folder {source}: make or mount it there, or mend `camera_folders` in the cluster document"
    )


def _unmounted(units: Mapping[str, UnitFile]) -> Commands:
    if units:
        will(f"take the mounts {', '.join(sorted(file.where for file in units.values()))} out; the footage stays")
    for unit, file in sorted(units.items()):
        quoted = shlex.quote(unit)
        # Stopped before it is forgotten: cut off in between, the unit is still there to be found.
        yield f"systemctl disable --now --quiet {quoted}"
        places = [file.where, str(PurePosixPath(file.where).parent)]
        yield f"{'; '.join(map(_rmdir, places))}; rm -f {shlex.quote(str(UNITS / unit))}"
    if units:
        yield "systemctl daemon-reload"


def _rmdir(folder: str) -> str:
    """Never `rm -r`: what is still mounted there is footage."""
    quoted = shlex.quote(folder)
    return f"{{ [ ! -d {quoted} ] || rmdir --ignore-fail-on-non-empty -- {quoted}; }}"


def _hashes(target: Host, folder: str, marker: str, names: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for start in range(0, len(names), HASH_BATCH):
        batch = tuple(names[start : start + HASH_BATCH])
        found.update(target.get_fact(VideosState, folder=folder, marker=marker, names=batch).hashes)
    return found


def _taken(folder: str, state: FolderFact, names: Sequence[str]) -> Commands:
    """Commands that delete clips that still are the files that were looked at."""
    for start in range(0, len(names), HASH_BATCH):
        words = [str(word) for name in names[start : start + HASH_BATCH] for word in (name, *state.files[name])]
        yield shlex.join(["python3", "-c", TAKE, folder, *words])


def _new_folders(state: FolderFact, known: Marker, files: Sequence[VideoFile]) -> list[str] | None:
    """The subfolders on record as ours, with those that are going to be made for these files."""
    if known.made_folders is None and known.files:
        return None  # an earlier version's record: it has no list
    wanted = {str(parent) for file in files for parent in PurePosixPath(file.name).parents if str(parent) != "."}
    return sorted({*(known.made_folders or []), *(wanted - {*state.folders})})


def _write_marker(path: str, marker: Marker) -> Commands:
    # Uploaded and not written by a command line: thousands of clips would not fit into one.
    text = render_marker(marker).encode()
    yield from upload(io.BytesIO(text), hashlib.sha256(text).hexdigest(), path, mode="600")


def _prune(folder: str, names: Sequence[str], known: Marker) -> str:
    """Remove subfolders that we made for our clips and that are empty; the innermost first."""
    parents = {str(parent) for name in names for parent in PurePosixPath(name).parents if str(parent) != "."}
    if known.made_folders is not None:
        parents &= {*known.made_folders}
    if not parents:
        return ":"
    ordered = sorted((str(PurePosixPath(folder) / parent) for parent in parents), key=lambda path: -path.count("/"))
    quoted = shlex.join(ordered)
    return f'for d in {quoted}; do [ ! -d "$d" ] || rmdir --ignore-fail-on-non-empty -- "$d"; done'
