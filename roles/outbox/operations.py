"""Operations of role `outbox`."""

from __future__ import annotations

import hashlib
import io
import shlex
from collections.abc import Sequence
from pathlib import Path

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import FileState, Lines
from roles.common.notes import left
from roles.common.operations import RECORDS, Commands, upload
from shoal.files import sha256_file

USER = "shoal-outbox"
USER_RECORD = str(RECORDS / "outbox.user")


@operation()
def system_user() -> Commands:
    """The shipper's user; a record tells `remove` that it is ours."""
    if not host.get_fact(Lines, script=f"getent passwd {USER} || true"):
        yield (
            f"mkdir -p {shlex.quote(str(RECORDS))} && touch {shlex.quote(USER_RECORD)} && "
            f"useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin {USER}"
        )


@operation()
def system_user_absent() -> Commands:
    """The user, where we made it."""
    if host.get_fact(Lines, script=f"[ ! -e {shlex.quote(USER_RECORD)} ] || echo ours"):
        yield f"! getent passwd {USER} >/dev/null || userdel {USER}; rm -f {shlex.quote(USER_RECORD)}"


@operation()
def file_of(path: str, content: bytes, owner: str = "root", mode: str = "644") -> Commands:
    """A file that travels as an upload: neither a command nor a log shows what is in it."""
    sha256 = hashlib.sha256(content).hexdigest()
    state = host.get_fact(FileState, path=path)
    if state is None or (state.sha256, state.mode, state.user) != (sha256, mode, owner):
        yield from upload(io.BytesIO(content), sha256, path, mode=mode, owner=f"{owner}:{owner}", role="outbox")


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
    """All that lies in the outbox is the shipper's: what an earlier installation left waiting may be nobody's."""
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
