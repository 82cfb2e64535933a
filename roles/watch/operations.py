"""Operations of role `watch`."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.facts import Lines
from roles.common.notes import left
from roles.common.operations import Commands


@operation()
def state_absent(folder: str, force: bool) -> Commands:
    """The watch's folder; where it holds events it stays, unless `force` is set."""
    quoted = shlex.quote(folder)
    found = host.get_fact(
        Lines, script=f"[ ! -d {quoted} ] || {{ echo there; ls {quoted}/events 2>/dev/null || true; }}"
    )
    if len(found) > 1 and not force:
        left(f"{folder}: {len(found) - 1} events of the watch")
    elif found:
        yield f"rm -rf -- {quoted}"
