"""Operations of role `outbox`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.operations import systemd

from roles.common.facts import FileState
from roles.common.notes import left
from roles.common.operations import Commands, upload
from roles.outbox.facts import EventsWaiting, HoldsOthers, UnitsUnread
from shoal.files import sha256_file

USER = "shoal-outbox"


@operation()
def given_program(source: Path, path: str) -> Commands:
    """A program from the control machine."""
    sha256 = sha256_file(source)
    state = host.get_fact(FileState, path=path)
    if state is None or (state.sha256, state.mode, state.user) != (sha256, "755", "root"):
        yield from upload(str(source), sha256, path, mode="755", role="outbox")


@operation()
def units_read(units: Sequence[str]) -> Commands:
    """systemd with the units as they are on the disk now."""
    if host.get_fact(UnitsUnread, units=tuple(units)):
        yield from systemd.daemon_reload._inner()


@operation()
def outbox_owned(folder: str) -> Commands:
    """All that lies in the outbox is the shipper's: what an earlier installation left waiting may have no owner."""
    if host.get_fact(HoldsOthers, folder=folder, user=USER):
        yield f"chown -R {USER}:{USER} {shlex.quote(folder)}"


@operation()
def outbox_absent(folder: str, force: bool) -> Commands:
    """The outbox's folder; where anything in it still waits to be shipped it stays, unless `force` is set."""
    waiting = host.get_fact(EventsWaiting, folder=folder)
    if waiting and not force:
        left(f"{folder}: {waiting} events wait in it to be shipped")
    elif waiting is not None:
        yield f"rm -rf -- {shlex.quote(folder)}"
