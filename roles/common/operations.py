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

from roles.common.facts import Existing, FileState, FolderStates, InstalledPackages, Lines, UnitState
from roles.common.knobs import node_of
from shoal.paths import NODE_STATE

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.state import State

Commands = Generator[str | PyinfraCommand, None, None]

INCOMING = NODE_STATE / "incoming"
"""Where uploads land; it belongs to the SSH user, so that a large file is written once and then moved."""
RECORDS = NODE_STATE / "roles"
"""What each role put on the machine, so that `remove` takes that and nothing else."""
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
    """Nobody goes on before all have come here: every host has it in its chain.

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
def folders(paths: dict[str, tuple[str, str]]) -> Commands:
    """Folders with their mode and owner (`user:group`)."""
    there = host.get_fact(FolderStates, paths=tuple(paths))
    for path, (mode, owner) in paths.items():
        user, _, group = owner.partition(":")
        if there.get(path) != f"{mode} {user} {group or user}":
            quoted = shlex.quote(path)
            yield f"mkdir -p {quoted} && chown {shlex.quote(owner)} {quoted} && chmod {mode} {quoted}"


@operation()
def text_file(path: str, content: str, mode: str = "644") -> Commands:
    """A small file that holds no secret (its content is in the command), owned by root, replaced in one step."""
    state = host.get_fact(FileState, path=path)
    wanted = hashlib.sha256(content.encode()).hexdigest()
    if state is not None and (state.sha256, state.mode, state.user, state.group) == (wanted, mode, "root", "root"):
        host.noop(f"{path} is as wanted")
        return
    yield write_text(path, content, mode)


def write_text(path: str, content: str, mode: str = "644") -> str:
    """The shell line that replaces a small text file in one step."""
    final = PurePosixPath(path)
    part = shlex.quote(str(final.parent / f".{final.name}.part"))
    encoded = base64.b64encode(content.encode()).decode()
    return (
        f"mkdir -p {shlex.quote(str(final.parent))} && printf %s {encoded} | base64 -d > {part} && "
        f"chmod {mode} {part} && mv -f {part} {shlex.quote(path)}"
    )


@operation()
def absent(paths: list[str]) -> Commands:
    """Files and folders (with all they hold) that must not be there."""
    there = host.get_fact(Existing, paths=tuple(paths))
    if there:
        yield f"rm -rf -- {shlex.join(there)}"


@operation()
def empty_folders_absent(paths: list[str]) -> Commands:
    """Those of the folders that hold nothing, in the given order (inner ones first)."""
    # A folder whose only content is another folder of the list counts as empty: that one goes first.
    quoted = shlex.join(paths)
    script = f'for p in {quoted}; do [ ! -d "$p" ] || [ -n "$(find "$p" -type f -print -quit)" ] || echo "$p"; done'
    if there := host.get_fact(Lines, script=script):
        yield f"rmdir -- {shlex.join(there)}"


@operation()
def packages(names: list[str], role: str, *, start_services: bool = True, keep_record: bool = True) -> Commands:
    """Debian packages; what was missing before (dependencies too) goes into the role's record, for `remove`.

    With `start_services=False` a temporary policy-rc.d keeps apt from starting services (no systemd to start them).
    """
    installed: set[str] = host.get_fact(InstalledPackages, packages=tuple(names))
    missing = sorted(set(names) - installed)
    if not missing:
        host.noop("all packages are installed")
        return
    wanted = shlex.join(missing)
    record = shlex.quote(str(RECORDS / f"{role}.packages"))
    stamp = "/var/lib/apt/periodic/update-success-stamp"
    lines = [
        "set -e",
        "export DEBIAN_FRONTEND=noninteractive LC_ALL=C",
        # An apt that was cut off leaves a journal, which dpkg has to work through first; another may be at work on it.
        f'end=$(($(date +%s) + {APT_MEND_S})); until [ -z "$(ls /var/lib/dpkg/updates 2>/dev/null)" ] || '
        'dpkg --configure -a; do [ "$(date +%s)" -lt "$end" ] || exit 1; sleep 2; done',
        f'[ -n "$(find {stamp} -mmin -{APT_FRESH_MINUTES} 2>/dev/null)" ] || '
        f"{{ apt-get -q -o Acquire::Retries=3 update && mkdir -p {PurePosixPath(stamp).parent} && touch {stamp}; }}",
    ]
    if keep_record:
        # Written before the packages are there: cut off in between, `remove` still knows of them.
        lines.append(
            f"mkdir -p {shlex.quote(str(RECORDS))} && "
            f"apt-get -s -q install --no-install-recommends {wanted} | "
            f"awk '$1==\"Inst\" && $3 !~ /^\\[/ {{print $2}}' >> {record} && sort -u -o {record} {record}"
        )
    install = (
        "apt-get -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "
        f"-o Acquire::Retries=3 install --no-install-recommends {wanted}"
    )
    if not start_services:
        install = (
            "policy=/usr/sbin/policy-rc.d; if [ ! -e $policy ]; then trap 'rm -f /usr/sbin/policy-rc.d' EXIT INT TERM; "
            "printf '#!/bin/sh\\nexit 101\\n' > $policy && chmod 755 $policy; fi\n" + install
        )
    lines.append(install)
    yield "\n".join(lines)


@operation()
def recorded_packages_absent(role: str, *, keep_needed: bool = False) -> Commands:
    """Purge the packages the role's record names. Fails where apt would take anything else along with them; with
    `keep_needed` those that others have come to need are left instead."""
    record = str(RECORDS / f"{role}.packages")
    if not host.get_fact(Existing, paths=(record,)):
        host.noop("this role installed no packages")
        return
    yield f"{_purge(f'$(cat {shlex.quote(record)})', keep_needed=keep_needed)}\nrm -f {shlex.quote(record)}"


@operation()
def packages_absent(names: list[str]) -> Commands:
    """Purge exactly these packages. Fails where apt would take anything else along with them."""
    if host.get_fact(InstalledPackages, packages=tuple(names)):
        yield _purge(shlex.join(names))


def _purge(names: str, *, keep_needed: bool = False) -> str:
    alone = 'alone=; for p in $ours; do [ -n "$(others $p)" ] || alone="$alone $p"; done; ours=$alone'
    return "\n".join(
        [
            "set -e",
            "export DEBIAN_FRONTEND=noninteractive LC_ALL=C",
            f"ours=$(for p in {names}; do "
            "case $(dpkg-query -W -f '${db:Status-Status}' \"$p\" 2>/dev/null || true) in "
            'installed|config-files) echo "$p";; esac; done | sort -u)',
            # What apt would take along that is not ours.
            'others() { apt-get -s -q purge "$@" | awk \'$1=="Purg"||$1=="Remv" {print $2}\' | sort -u | '
            'while read -r p; do case " $(echo $ours) " in *" $p "*) ;; *) echo "$p";; esac; done; }',
            *([alone] if keep_needed else []),
            'if [ -n "$ours" ]; then',
            "  more=$(others $ours)",
            '  if [ -n "$more" ]; then echo "not removed: other packages need them:" $more >&2; exit 1; fi',
            "  apt-get -q -y purge $ours",
            "fi",
        ]
    )


@operation()
def service(unit: str, config_files: list[str] | None = None, *, may_idle_in_container: bool = False) -> Commands:
    """A systemd unit: enabled, running, and started after its configuration was last written.

    With `may_idle_in_container` a unit that systemd itself keeps from running in a container is left alone there.
    """
    state = host.get_fact(UnitState, unit=unit, files=tuple(config_files or ()))
    quoted = shlex.quote(unit)
    if state.needs_reload:
        yield "systemctl daemon-reload"
    if not state.enabled:
        yield f"systemctl enable --quiet {quoted}"
    told = f"{{ systemctl status --no-pager --lines=20 {quoted} >&2; exit 1; }}"
    if not state.active:
        if may_idle_in_container and state.in_container:
            host.noop(f"{unit} is not run in a container")
        else:
            yield f"systemctl start {quoted} || {told}"
    elif state.outdated or state.needs_reload:
        yield f"systemctl restart {quoted} || {told}"


@operation()
def service_absent(unit: str) -> Commands:
    """A systemd unit stopped and disabled, where it is there at all."""
    state = host.get_fact(UnitState, unit=unit)
    if state.exists and (state.active or state.enabled):
        yield f"systemctl disable --quiet --now {shlex.quote(unit)}"


def upload(
    source: Any,
    sha256: str,
    final: str,
    *,
    mode: str = "644",
    owner: str = "root:root",
    proof: Callable[[str], str] | None = None,
) -> Commands:
    """Commands that bring a file over, check its hash on the node, and only then move it to its place.

    `source` is a local path or a file-like object. It is written once, by the SSH user, into `INCOMING`. `proof` makes
    a shell line of the arrived file's path; where that fails, the old file stays.
    """
    landed = str(INCOMING / f"{sha256}.part")
    place = PurePosixPath(final)
    part = str(place.parent / f".{sha256[:16]}.part")
    quoted_landed, quoted_part = shlex.quote(landed), shlex.quote(part)
    told = shlex.quote(f"wrong hash after the upload of {place.name}: wanted {sha256}, found ")
    yield f"install -d -m 700 -o {shlex.quote(node_of(host).user)} {shlex.quote(str(INCOMING))}"
    yield FileUploadCommand(source, landed, _sudo=False)
    yield "\n".join(
        [
            "set -e",
            f"trap 'rm -f {quoted_landed} {quoted_part}' EXIT",
            f"found=$(sha256sum < {quoted_landed} | cut -d' ' -f1)",
            f'[ "$found" = {sha256} ] || {{ echo {told}"$found" >&2; exit 1; }}',
            f"mkdir -p {shlex.quote(str(place.parent))}",
            # Closed before it leaves its private folder: it may be a secret, and arrives as its user's umask makes it.
            f"chmod go= {quoted_landed} && mv -f {quoted_landed} {quoted_part}",
            f"chown {shlex.quote(owner)} {quoted_part} && chmod {mode} {quoted_part}",
            # The proof may have taken a while: a service that was started meanwhile has read the old file.
            *([proof(part), f"touch {quoted_part}"] if proof else []),
            f"mv -f {quoted_part} {shlex.quote(final)}",
        ]
    )
