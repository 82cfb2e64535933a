"""Operations that several roles need. Each looks first with one command, and yields nothing where all is as wanted."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Callable, Generator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pyinfra import logger
from pyinfra.api.command import FileUploadCommand, FunctionCommand, PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common import apt
from roles.common.consent import APT_UPGRADE, agreed, owned
from roles.common.diff import unified
from roles.common.facts import (
    EarlierDeployAtWork,
    Existing,
    FileState,
    FileText,
    FolderStates,
    FoldersWithoutFiles,
    InstalledPackages,
    NewTrees,
    PlacedFact,
    PlacedFiles,
    RecordLines,
    UnitState,
)
from roles.common.knobs import node_of
from roles.common.notes import changing, left, to_be_changed, will
from roles.common.script import common
from shoal.paths import NODE_STATE

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

Commands = Generator[str | PyinfraCommand, None, None]

INCOMING = NODE_STATE / "incoming"
"""Where uploads land; it belongs to the SSH user, so that a large file is written once and then moved."""
RECORDS = NODE_STATE / "roles"
"""What each role put on the machine, so that `remove` takes that and nothing else."""
RECORDS_VERSION = 3
"""Of the records that a first deploy begins now; files/record.sh writes it down."""
RECORDED_SINCE = {"base": 2, "docker": 2, "registry": 2}
"""By role, the version from which on it keeps a record of its files; the others came with the newest."""
HOLD = "/run/shoal/deploy.lock"
"""Held on the machine by every program of ours that may outlive the connection that started it; see `settled`."""
SIMULATED = "shoal_simulated"
"""Host data of the run itself: what apt said before the first change, by the packages it was asked for."""
APT_STAMP = "/var/lib/apt/periodic/update-success-stamp"
APT_FRESH_MINUTES = 60
APT_MEND_S = 180


def failure(message: str) -> FunctionCommand:
    """A command that fails this host, and only this host, with a plain message."""

    def fail(state: State, host: Host) -> bool:
        del state
        host.log_styled(message, fg="red", log_func=logger.error)
        return False

    return FunctionCommand(fail, (), {})


@operation()
def barrier(unanimous: Sequence[str] = (), behind: str = "") -> Commands:
    """No host goes on before all have come here: every host has it in its chain.

    A host that failed does not come any more, and by itself that keeps none of the others back. With `unanimous` all
    stop here where an operation of one of these names failed anywhere; with `behind`, where that host failed at all.
    """
    state = host.state
    if not state.is_executing:
        return  # nothing has failed yet
    said_no = sorted(one.name for one in state.failed_hosts if _failed_at(state, one, unanimous))
    if said_no:
        yield failure(f"not touched, because {', '.join(said_no)} cannot be changed now")
    elif any(one.name == behind for one in state.failed_hosts):
        yield failure(f"not touched, because {behind} failed, which comes first")


def _failed_at(state: State, one: Host, names: Sequence[str]) -> bool:
    """Whether an operation of one of `names` failed on that host; inside a role names begin with the role's."""
    return any(
        done.operation_meta.is_complete()
        and done.operation_meta.did_error()
        and any(full.rpartition(" | ")[2] in names for full in state.op_meta[op_hash].names)
        for op_hash, done in state.ops[one].items()
    )


@operation()
def folders(paths: dict[str, tuple[str, str]], role: str = "", trees: Sequence[str] = ()) -> Commands:
    """Folders with their mode and owner (`user:group`).

    With `role` those that are new go on that role's record: `trees` of them with all that comes to lie in them.
    """
    there = host.get_fact(FolderStates, paths=tuple(paths))
    for path, (mode, owner) in paths.items():
        user, _, group = owner.partition(":")
        if there.get(path) != f"{mode} {user} {group or user}":
            quoted = shlex.quote(path)
            if role and path not in there:
                yield f"{recording(role)}\n{'record_tree' if path in trees else 'record_folders'} {quoted}"
            yield f"umask 022; mkdir -p {quoted} && chown {shlex.quote(owner)} {quoted} && chmod {mode} {quoted}"


@operation()
def text_file(path: str, content: str, mode: str = "644", role: str = "") -> Commands:
    """A small file that holds no secret (its content is in the command), owned by root, replaced in one step.

    With `role` the file goes on that role's record before it is placed, together with a copy of what was there;
    `recorded_files_absent` reads it.
    """
    state = host.get_fact(FileState, path=path)
    wanted = hashlib.sha256(content.encode()).hexdigest()
    if state is not None and (state.sha256, state.mode, state.user, state.group) == (wanted, mode, "root", "root"):
        host.noop(f"{path} is as wanted")
        return
    if state is None:
        will_write(path)
    elif state.sha256 != wanted:
        will_replace(path, content)
    yield placed(path, content, role, mode) if role else write_text(path, content, mode)


def will_write(path: str, what: str = "") -> None:
    """Say that a file comes where none is; `what` says more of it."""
    will(f"write {path}" + (f" ({what})" if what else ""))
    changing(path)


def will_replace(path: str, content: str) -> None:
    """Say that a text file's content is replaced, and by a diff how it changes where everybody may read it."""
    if host.state.is_executing:
        return
    before: str | None = host.get_fact(FileText, path=path)
    will(
        f"replace {path}\n" + ("(not shown: not everybody may read it)" if before is None else unified(before, content))
    )
    changing(path)


@operation()
def recorded_files_absent(role: str, legacy: Sequence[str] = ()) -> Commands:
    """The files on the role's record that still are what we wrote; what was there before comes back. Others are named.

    `legacy` are paths that earlier versions wrote without a record; they go where the machine's records are that old.
    On a machine without any records nothing is ours.
    """
    record = str(RECORDS / f"{role}.files")
    state: PlacedFact = host.get_fact(PlacedFiles, record=record, records=str(RECORDS))
    for file in state.files:
        if file.now not in {file.recorded, "-"}:
            left(f"{file.path}: it was changed after shoal wrote it")
        elif file.now != "-":
            will(f"remove {file.path}" if file.before == "-" else f"put {file.path} back as it was")
    if state.recorded:
        yield common("unplace.sh", RECORD=record, BEFORE=str(RECORDS / f"{role}.before"))
    if state.version is not None and state.version < RECORDED_SINCE.get(role, RECORDS_VERSION) and legacy:
        known = {file.path for file in state.files}
        if there := host.get_fact(Existing, paths=tuple(path for path in legacy if path not in known)):
            yield f"rm -rf -- {shlex.join(there)}"


@operation()
def trees_recorded(paths: Sequence[str], role: str) -> Commands:
    """Folders that a service of ours is about to make, on the role's record: they go with all that lies in them.

    One that is there before its service came is its owner's.
    """
    if new := host.get_fact(NewTrees, paths=tuple(paths), record=str(RECORDS / f"{role}.files")):
        yield "\n".join([recording(role), *(f"record_tree {shlex.quote(path)}" for path in new)])


def recording(role: str) -> str:
    """The shell functions that put what a role is about to write on its record."""
    since = str(RECORDED_SINCE.get(role, RECORDS_VERSION))
    return f"set -eu\n{common('record.sh', ROLE=role, RECORDS=str(RECORDS), SINCE=since)}"


def placed(path: str, content: str, role: str, mode: str = "644") -> str:
    """The program that places a small text file and keeps the role's record of it."""
    encoded = base64.b64encode(content.encode()).decode()
    return f"{recording(role)}\n{common('place.sh', TARGET=path, MODE=mode, CONTENT=encoded)}"


def write_text(path: str, content: str, mode: str = "644") -> str:
    """The shell line that replaces a small text file in one step."""
    final = PurePosixPath(path)
    part = shlex.quote(str(final.parent / f".{final.name}.part"))
    encoded = base64.b64encode(content.encode()).decode()
    return (
        f"umask 022; mkdir -p {shlex.quote(str(final.parent))} && printf %s {encoded} | base64 -d > {part} && "
        f"chmod {mode} {part} && mv -f {part} {shlex.quote(path)}"
    )


@operation()
def absent(paths: list[str]) -> Commands:
    """Files and folders (with all they hold) that must not be there."""
    there = host.get_fact(Existing, paths=tuple(paths))
    if there:
        will(f"remove {', '.join(there)}")
        yield f"rm -rf -- {shlex.join(there)}"


@operation()
def empty_folders_absent(paths: list[str]) -> Commands:
    """Those of the folders that hold nothing, in the given order (inner ones first)."""
    # A folder whose only content is another folder of the list counts as empty: that one goes first.
    if there := host.get_fact(FoldersWithoutFiles, paths=tuple(paths)):
        yield f"rmdir -- {shlex.join(there)}"


@operation()
def packages(
    names: list[str], role: str, *, start_services: bool = True, keep_record: bool = True, brings: Sequence[str] = ()
) -> Commands:
    """Debian packages; what was missing before (dependencies too) goes into the role's record, for `remove`.

    apt is asked first what it would do. Where anything of the machine's would be removed, replaced by an older version
    or taken off its hold, nothing is installed; an owner's packages are upgraded only with his consent. `brings` are
    lines `user X`, `group X` and `path X` of what the packages make and leave behind; those that are new go on record
    too. With `start_services=False` a temporary policy-rc.d keeps apt from starting services.
    """
    installed: set[str] = host.get_fact(InstalledPackages, packages=tuple(names))
    missing = tuple(sorted(set(names) - installed))
    if not missing:
        host.noop("all packages are installed")
        return
    if not host.state.is_executing:
        for line in apt.consequences(_simulated(host, missing)):
            will(line)
    yield _refresh_program()
    # By the lists that are fresh now; what is installed, refused and recorded is all of this one answer.
    simulation = _simulated(host, missing)
    if faults := apt.refusals(simulation, may_upgrade=_may_upgrade(host)):
        yield failure(f"{', '.join(missing)} cannot be installed: {'; '.join(faults)}")
        return
    yield _install_program(
        missing,
        role if keep_record else "",
        new=[name for name, _ in simulation.new],
        brings=brings,
        start_services="yes" if start_services else "no",
    )


def packages_program(names: Sequence[str], role: str) -> str:
    """The two programs of `packages`, for a program of a role's that finds out itself whether it needs them."""
    return f"{_refresh_program()}\n{_install_program(names, role)}"


def _refresh_program() -> str:
    return common(
        "apt_refresh.sh",
        HOLD=HOLD,
        STAMP=APT_STAMP,
        FRESH_MINUTES=str(APT_FRESH_MINUTES),
        MEND_S=str(APT_MEND_S),
    )


def _install_program(
    names: Sequence[str],
    role: str,
    *,
    new: Sequence[str] = (),
    brings: Sequence[str] = (),
    start_services: str = "yes",
) -> str:
    return common(
        "apt_install.sh",
        HOLD=HOLD,
        WANTED=" ".join(names),
        NEW=" ".join(new),
        RECORD=str(RECORDS / f"{role}.packages") if role else "",
        BROUGHT="\n".join(brings),
        START_SERVICES=start_services,
    )


def packages_refused(host: Host, names: Sequence[str]) -> list[str]:
    """Why those of the packages that are missing cannot be installed on this machine; asked of its own apt."""
    installed: set[str] = host.get_fact(InstalledPackages, packages=tuple(names))
    missing = tuple(sorted(set(names) - installed))
    if not missing:
        return []
    return apt.refusals(_simulated(host, missing), may_upgrade=_may_upgrade(host))


def _may_upgrade(host: Host) -> bool:
    """Whether packages that are there may be upgraded for ours."""
    return not owned(host) or APT_UPGRADE in agreed(host)


def _simulated(host: Host, names: tuple[str, ...]) -> apt.Simulation:
    """What apt would do. While a deploy is prepared nothing changes, and apt is asked once for the same packages."""
    if host.state.is_executing:
        return host.get_fact(apt.Simulated, names=names)
    known: dict[tuple[str, ...], apt.Simulation] = host.data.get(SIMULATED) or {}
    if names not in known:
        known = {**known, names: host.get_fact(apt.Simulated, names=names)}
        setattr(host.data, SIMULATED, known)
    return known[names]


@operation()
def recorded_packages_absent(role: str, *, keep_needed: bool = False) -> Commands:
    """Purge the packages the role's record names, and what they made. Fails where apt would take anything else along
    with them; with `keep_needed` those that others have come to need are left instead."""
    record = str(RECORDS / f"{role}.packages")
    if not host.get_fact(Existing, paths=(record,)):
        host.noop("this role installed no packages")
        return
    names = host.get_fact(RecordLines, path=record)
    if names:
        will(f"purge {', '.join(names)}")
    yield common(
        "apt_purge.sh", HOLD=HOLD, NAMES=" ".join(names), RECORD=record, KEEP_NEEDED="yes" if keep_needed else "no"
    )


@operation()
def packages_absent(names: list[str]) -> Commands:
    """Purge exactly these packages. Fails where apt would take anything else along with them."""
    if there := host.get_fact(InstalledPackages, packages=tuple(names)):
        will(f"purge {', '.join(sorted(there))}")
        yield common("apt_purge.sh", HOLD=HOLD, NAMES=" ".join(names), RECORD="", KEEP_NEEDED="no")


@operation()
def settled(build_folder: str, wait_s: int) -> Commands:
    """Nothing of an earlier deploy is at work on the machine any more: it may have outlived the connection.

    A build of the image is ended, with all it started. An apt at work is waited for: dpkg is not to be cut off.
    """
    if host.get_fact(EarlierDeployAtWork, hold=HOLD, folder=build_folder, wait_s=wait_s):
        yield common("settle.sh", HOLD=HOLD, FOLDER=build_folder, WAIT_S=str(wait_s), ACT="yes")


@operation()
def service(unit: str, config_files: list[str] | None = None, *, may_idle_in_container: bool = False) -> Commands:
    """A systemd unit: enabled, running, and started after its configuration was last written.

    With `may_idle_in_container` a unit that systemd itself keeps from running in a container is left alone there.
    """
    state = host.get_fact(UnitState, unit=unit, files=tuple(config_files or ()))
    quoted = shlex.quote(unit)
    idles = may_idle_in_container and state.in_container
    if not state.active and not idles:
        will(f"start {unit}" + ("" if state.enabled else ", now and at every boot"))
    elif not state.enabled:
        will(f"start {unit} at every boot")
    if state.active and (state.outdated or state.needs_reload or to_be_changed(config_files or [])):
        will(f"restart {unit}")
    if state.needs_reload:
        yield "systemctl daemon-reload"
    if not state.enabled:
        yield f"systemctl enable --quiet {quoted}"
    words = f"{{ systemctl status --no-pager --lines=20 {quoted} >&2; exit 1; }}"
    if not state.active:
        if idles:
            host.noop(f"{unit} is not run in a container")
        else:
            yield f"systemctl start {quoted} || {words}"
    elif state.outdated or state.needs_reload:
        yield f"systemctl restart {quoted} || {words}"


@operation()
def service_absent(unit: str) -> Commands:
    """A systemd unit stopped and disabled, where it is there at all."""
    state = host.get_fact(UnitState, unit=unit)
    if state.exists and (state.active or state.enabled):
        will(f"stop {unit} and disable it")
        yield f"systemctl disable --quiet --now {shlex.quote(unit)}"


def upload(
    source: Any,
    sha256: str,
    final: str,
    *,
    mode: str = "644",
    owner: str = "root:root",
    proof: Callable[[str], str] | None = None,
    replaces: str | None = None,
    role: str = "",
) -> Commands:
    """Commands that bring a file over, check its hash on the node, and only then move it to its place.

    `source` is a local path or a file-like object. It is written once, by the SSH user, into `INCOMING`. `proof` makes
    a shell line of the arrived file's path; where that fails, the old file stays. With `replaces` the place is looked
    at once more: only a file with that SHA-256 is replaced, and with an empty one nothing may be there. With `role`
    it goes on that role's record before it is placed, as with `text_file`.
    """
    landed = str(INCOMING / f"{sha256}.part")
    part = str(PurePosixPath(final).parent / f".{sha256[:16]}.part")
    yield f"install -d -m 700 -o {shlex.quote(node_of(host).user)} {shlex.quote(str(INCOMING))}"
    yield FileUploadCommand(source, landed, _sudo=False)
    yield "\n".join(
        [
            recording(role) if role else "record_folders() { :; }\nrecord_file() { :; }",
            f"proved() {{ {proof(part) if proof else ':'}; }}",
            common(
                "arrive.sh",
                LANDED=landed,
                PART=part,
                FINAL=final,
                SHA256=sha256,
                OWNER=owner,
                MODE=mode,
                PROOF="yes" if proof else "no",
                REPLACES={None: "anything", "": "nothing"}.get(replaces) or str(replaces),
            ),
        ]
    )
