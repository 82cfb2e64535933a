"""Operations of role `base`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.base.facts import FILES, ClosedFolders, FolderNames, HostNames, Remains
from roles.common.facts import Existing
from roles.common.notes import left, will
from roles.common.operations import Commands
from roles.common.script import script

NAMED = 10
"""So many files at most are named one by one."""


@operation()
def shared_folders_open(known: Sequence[str], records: str) -> Commands:
    """Folders that we made on the way to a file are for everybody to pass, whatever umask an earlier deploy ran under.

    Services of ours read their settings there as users of their own. `known` are those that versions without records
    made; the others are on the roles' records. Only what is root's is touched: a folder that is to be closed is either
    its service's own or goes with all that lies in it (record_tree).
    """
    if closed := host.get_fact(ClosedFolders, known=tuple(known), records=records):
        will(f"let everybody pass {', '.join(closed)}")
        yield f"chmod go+rx -- {shlex.join(closed)}"


@operation()
def hostname(wanted: str, record: str) -> Commands:
    """The kernel's host name, /etc/hostname and a line in /etc/hosts; `record` keeps what they were."""
    state = host.get_fact(HostNames, wanted=wanted)
    if not (state.kernel == state.file == wanted and state.resolves):
        if not state.kernel == state.file == wanted:
            will(f"host name: {state.kernel} becomes {wanted}")
        if not state.resolves:
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
    state = host.get_fact(Remains, folders=tuple(folders), leftovers=tuple(leftovers))

    def under(path: str, places: Sequence[str]) -> bool:
        return any(path == place or path.startswith(f"{place}/") for place in places)

    surviving = sorted(path for path in state.inside if path not in folders and not under(path, state.gone))
    foreign = [path for path in surviving if not under(path, kept)]
    for path in foreign[:NAMED]:
        left(f"{path}: shoal did not put it there")
    if len(foreign) > NAMED:
        left(f"{len(foreign) - NAMED} more files that shoal did not put there")
    empty = [
        folder
        for folder in state.folders
        if folder not in state.gone and not any(under(path, [folder]) for path in surviving)
    ]
    if state.gone or empty:
        will(f"remove {', '.join([*state.gone, *empty])}")
        yield f"rm -rf -- {shlex.join(state.gone)}" if state.gone else "true"
        if empty:
            yield f"rmdir --ignore-fail-on-non-empty -- {shlex.join(empty)}"


@operation()
def records_absent(folder: str) -> Commands:
    """The folder of the records, where no role has one any more."""
    names = host.get_fact(FolderNames, folder=folder)
    if names is not None and names <= {"version"}:
        yield f"rm -rf -- {shlex.quote(folder)}"
