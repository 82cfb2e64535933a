"""Operations of role `videos`."""

from __future__ import annotations

import hashlib
import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import Lines
from roles.common.operations import Commands, failure, upload, write_text
from roles.videos.cameras import Camera
from roles.videos.defaults import VideoFile
from roles.videos.facts import CameraMounts, FolderFact, UnitFile, VideosState
from roles.videos.plan import Known, Marker, doubtful, plan, read_marker, render_marker

UNITS = PurePosixPath("/etc/systemd/system")
HASH_BATCH = 200
"""So many names at most go into one command line."""
SPARE_BYTES = 64 << 20
"""Room that placing clips must leave."""


@operation()
def folder(path: str, owner: str | None, mode: str | None, marker: str) -> Commands:
    """The videos folder; one that is there keeps what no knob asks for."""
    script = f"stat -c '%a %U:%G' {shlex.quote(path)} 2>/dev/null || true"
    lines = host.get_fact(Lines, script=script)
    quoted = shlex.quote(path)
    if not lines:
        known = Marker(made_folder=True)
        yield write_text(marker, render_marker(known))
        yield (
            f"mkdir -p {quoted} && chown {shlex.quote(owner or 'root:root')} {quoted} && chmod {mode or '755'} {quoted}"
        )
        return
    there_mode, there_owner = lines[0].split()
    if owner is not None and owner != there_owner:
        yield f"chown {shlex.quote(owner)} {quoted}"
    if mode is not None and mode.lstrip("0") != there_mode:
        yield f"chmod {mode} {quoted}"


@operation()
def clips(folder: str, files: tuple[VideoFile, ...], marker: str) -> Commands:
    """Ours that are missing or wrong are placed, ours that are not wanted any more removed, others' left alone."""
    state = host.get_fact(VideosState, folder=folder, marker=marker)
    known = read_marker(state.marker)
    todo = plan(state, known, files, _hashes(folder, marker, doubtful(state, known, files)))
    if todo.foreign:
        names = ", ".join(map(repr, todo.foreign))
        yield failure(
            f"in {folder} there are files with the names of ours but not from us: {names}; move or rename them"
        )
        return
    needed = sum(file.size_bytes for file in todo.place) + SPARE_BYTES
    if todo.place and state.exists and state.free_bytes < needed:
        yield failure(
            f"no space left in {folder}: {needed >> 20} MiB are needed, {state.free_bytes >> 20} MiB are free"
        )
        return
    if todo.remove:
        yield f"rm -f -- {shlex.join(str(PurePosixPath(folder) / name) for name in todo.remove)}"
        yield _prune(folder, todo.remove)
    if todo.place:
        # Claimed before they come: cut off in between, what lies there is still known to be ours.
        claimed = {file.name: Known(file.sha256, file.size_bytes, 0) for file in todo.place}
        yield from _write_marker(marker, Marker({**known.files, **claimed}, known.made_folder))
    for file in todo.place:
        yield from upload(str(file.path), file.sha256, str(PurePosixPath(folder) / file.name))
    if todo.remember:
        after = host.get_fact(VideosState, folder=folder, marker=marker)
        yield from _write_marker(marker, _marker(after, known, files))


@operation()
def clips_absent(folder: str, marker: str) -> Commands:
    """Our clips, then the folder if it is ours and empty, then the marker."""
    state = host.get_fact(VideosState, folder=folder, marker=marker)
    if state.marker is None:
        host.noop("nothing here is ours")
        return
    known = read_marker(state.marker)
    ours = sorted(name for name in known.files if name in state.files)
    if ours:
        yield f"rm -f -- {shlex.join(str(PurePosixPath(folder) / name) for name in ours)}"
        yield _prune(folder, ours)
    if known.made_folder and state.exists:
        yield f"rmdir --ignore-fail-on-non-empty -- {shlex.quote(folder)}"
    yield f"rm -f {shlex.quote(marker)}"


@operation()
def cameras(wanted: tuple[Camera, ...]) -> Commands:
    """Each camera folder shown read-only, now and after a boot; mounts of ours that are not wanted any more go."""
    state = host.get_fact(CameraMounts, cameras=wanted)
    places, units = state.places, state.units
    if missing := [camera.source for camera in wanted if places[camera.target].source == "missing"]:
        yield failure(no_such_folders(host.name, missing))
        return
    if full := [camera.target for camera in wanted if places[camera.target].shows == "files"]:
        yield failure(f"in {', '.join(full)} there are files, which a camera folder would hide; move them away")
        return
    if foreign := [it.target for it in wanted if places[it.target].shows == "other" and it.unit not in units]:
        yield failure(f"at {', '.join(foreign)} something is mounted that is not ours; unmount it")
        return
    names = {camera.unit for camera in wanted}
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


def no_such_folders(name: str, missing: Sequence[str]) -> str:
    """What is said of camera folders that are not on the machine."""
    return f"{name} has no camera folder {', '.join(missing)}: make it or mount it there, or mend the cluster document"


def _unmounted(units: Mapping[str, UnitFile]) -> Commands:
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


def _hashes(folder: str, marker: str, names: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for start in range(0, len(names), HASH_BATCH):
        batch = tuple(names[start : start + HASH_BATCH])
        found.update(host.get_fact(VideosState, folder=folder, marker=marker, names=batch).hashes)
    return found


def _marker(after: FolderFact, before: Marker, files: tuple[VideoFile, ...]) -> Marker:
    entries = {file.name: (file, after.files[file.name]) for file in files if file.name in after.files}
    return Marker(
        {name: Known(file.sha256, size, mtime) for name, (file, (size, mtime)) in entries.items()},
        before.made_folder,
    )


def _write_marker(path: str, marker: Marker) -> Commands:
    # Uploaded and not written by a command line: thousands of clips would not fit into one.
    text = render_marker(marker).encode()
    yield from upload(io.BytesIO(text), hashlib.sha256(text).hexdigest(), path)


def _prune(folder: str, names: list[str]) -> str:
    """Remove subfolders that held only our clips; the innermost first."""
    parents = {
        str(PurePosixPath(folder) / parent)
        for name in names
        for parent in PurePosixPath(name).parents
        if str(parent) != "."
    }
    if not parents:
        return ":"
    ordered = sorted(parents, key=lambda path: -path.count("/"))
    return f"rmdir --ignore-fail-on-non-empty -- {shlex.join(ordered)}"
