"""Operations of role `base`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import Existing, Lines, labelled
from roles.common.notes import left, will
from roles.common.operations import Commands
from roles.common.script import script

FILES = Path(__file__).parent / "files"
NAMED = 10
"""So many files at most are named one by one."""


@operation()
def shared_folders_open(known: Sequence[str], records: str) -> Commands:
    """Folders that we made on the way to a file are for everybody to pass, whatever umask an earlier deploy ran under.

    Services of ours read their settings there as users of their own. `known` are those that versions without records
    made; the others are on the roles' records. Only what is root's is touched: a folder that is to be closed is either
    its service's own or goes with all that lies in it (record_tree).
    """
    if closed := host.get_fact(Lines, script=closed_folders(known, records)):
        will(f"let everybody pass {', '.join(closed)}")
        yield f"chmod go+rx -- {shlex.join(closed)}"


def closed_folders(known: Sequence[str], records: str) -> str:
    """A shell line that prints root's folders among `known` and the records' that not everybody can pass."""
    return (
        f"{{ printf '%s\\n' {shlex.join(known)}; "
        f"cat {shlex.quote(records)}/*.files 2>/dev/null | awk -F '\\t' '$1 == \"folder\" {{ print $2 }}'; }} | "
        'sort -u | while IFS= read -r p; do [ -d "$p" ] && [ ! -L "$p" ] || continue; '
        'case $(stat -c "%u %a" -- "$p") in "0 "*[57][57]) ;; "0 "*) printf "%s\\n" "$p" ;; esac; done'
    )


@operation()
def hostname(wanted: str, record: str) -> Commands:
    """The kernel's host name, /etc/hostname and a line in /etc/hosts; `record` keeps what they were."""
    state = labelled(
        host.get_fact(
            Lines,
            script=(
                'echo "kernel $(hostname)"; echo "file $(cat /etc/hostname 2>/dev/null)"; '
                f'echo "known $(getent hosts {shlex.quote(wanted)} >/dev/null && echo yes)"'
            ),
        )
    )
    if state.get("file") != wanted or state.get("kernel") != wanted or state.get("known") != "yes":
        if wanted not in {state.get("file")} & {state.get("kernel")}:
            will(f"host name: {state.get('kernel')} becomes {wanted}")
        if state.get("known") != "yes":
            will(f"/etc/hosts gets a line:\n+127.0.1.1\t{wanted}")
        yield script(FILES / "hostname.sh", WANTED=wanted, RECORD=record)


@operation()
def hostname_back(record: str) -> Commands:
    """The host name that the machine had before us."""
    if host.get_fact(Existing, paths=(record,)):
        will("give the host name back")
        yield script(FILES / "hostname_back.sh", RECORD=record)


@operation()
def state_absent(folders: Sequence[str], leftovers: Sequence[str], *, kept: Sequence[str] = ()) -> Commands:
    """Our folders, inner ones first, where nothing is in them that we did not put there; others are named.

    `leftovers` are our own files and folders in them that go with all they hold. Of `kept` nothing is said: it stays
    because it was asked for.
    """
    script = (
        f'for p in {shlex.join(leftovers)}; do [ ! -e "$p" ] || echo "gone $p"; done; '
        f'for p in {shlex.join(folders)}; do [ ! -d "$p" ] || find "$p" -mindepth 1 '
        '\\( -type d -empty -o ! -type d \\) -printf \'in %p\\n\'; [ ! -d "$p" ] || echo "folder $p"; done'
    )
    lines: list[str] = host.get_fact(Lines, script=script)
    gone = [line.removeprefix("gone ") for line in lines if line.startswith("gone ")]
    there = [line.removeprefix("folder ") for line in lines if line.startswith("folder ")]
    inside = {line.removeprefix("in ") for line in lines if line.startswith("in ")}

    def under(path: str, places: Sequence[str]) -> bool:
        return any(path == place or path.startswith(f"{place}/") for place in places)

    surviving = sorted(path for path in inside if path not in folders and not under(path, gone))
    foreign = [path for path in surviving if not under(path, kept)]
    for path in foreign[:NAMED]:
        left(f"{path}: shoal did not put it there")
    if len(foreign) > NAMED:
        left(f"{len(foreign) - NAMED} more files that shoal did not put there")
    empty = [folder for folder in there if folder not in gone and not any(under(path, [folder]) for path in surviving)]
    if gone or empty:
        will(f"remove {', '.join([*gone, *empty])}")
        yield f"rm -rf -- {shlex.join(gone)}" if gone else "true"
        if empty:
            yield f"rmdir --ignore-fail-on-non-empty -- {shlex.join(empty)}"


@operation()
def records_absent(folder: str) -> Commands:
    """The folder of the records, where no role has one any more."""
    quoted = shlex.quote(folder)
    names: list[str] = host.get_fact(Lines, script=f"[ ! -d {quoted} ] || {{ echo .; ls -A {quoted}; }}")
    if names and set(names) <= {".", "version"}:
        yield f"rm -rf -- {quoted}"
