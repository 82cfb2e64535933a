"""Operations of role `watch`."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.common.notes import left
from roles.common.operations import Commands
from roles.watch.facts import EventsKept


@operation()
def state_absent(folder: str, force: bool) -> Commands:
    """The watch's folder; where it holds events it stays, unless `force` is set."""
    events = host.get_fact(EventsKept, folder=folder)
    if events and not force:
        left(f"{folder}: {events} events of the watch")
    elif events is not None:
        yield f"rm -rf -- {shlex.quote(folder)}"
