"""Operations of role `outbox`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import FileState, Lines
from roles.common.notes import left
from roles.common.operations import Commands, upload
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
    script = f'for u in {shlex.join(units)}; do systemctl show "$u" -p NeedDaemonReload --value 2>/dev/null; done'
    if "yes" in host.get_fact(Lines, script=script):
        yield "systemctl daemon-reload"


@operation()
def outbox_owned(folder: str) -> Commands:
    """All that lies in the outbox is the shipper's: what an earlier installation left waiting may have no owner."""
    quoted = shlex.quote(folder)
    if host.get_fact(
        Lines, script=f"[ ! -d {quoted} ] || find {quoted} ! -user {USER} -print -quit 2>/dev/null || true"
    ):
        yield f"chown -R {USER}:{USER} {quoted}"


@operation()
def outbox_absent(folder: str, force: bool) -> Commands:
    """The outbox's folder; where anything in it still waits to be shipped it stays, unless `force` is set."""
    quoted = shlex.quote(folder)
    lines = host.get_fact(
        Lines, script=f"[ ! -d {quoted} ] || {{ echo there; find {quoted}/open -name '*.json' 2>/dev/null || true; }}"
    )
    if len(lines) > 1 and not force:
        left(f"{folder}: {len(lines) - 1} events wait in it to be shipped")
    elif lines:
        yield f"rm -rf -- {quoted}"
