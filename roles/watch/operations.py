"""Operations of role `watch`."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.notes import left
from roles.common.operations import Commands
from roles.watch.facts import WatchState


@operation()
def state_absent(folder: str, force: bool) -> Commands:
    """The watch's folder; where it holds events it stays, unless `force` is set."""
    found = host.get_fact(WatchState, folder=folder)
    if len(found) > 1 and not force:
        left(f"{folder}: {len(found) - 1} events of the watch")
    elif found:
        yield f"rm -rf -- {shlex.quote(folder)}"
