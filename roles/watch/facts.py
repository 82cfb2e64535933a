"""Facts of role `watch`."""

from __future__ import annotations

import shlex

from roles.common.facts import NodeFact


class EventsKept(NodeFact[int | None]):
    """How many entries the watch's folder of events holds; None where there is no watch's folder."""

    def command(self, folder: str) -> str:
        """The folder's names."""
        quoted = shlex.quote(folder)
        return f"[ ! -d {quoted} ] || {{ echo there; ls {quoted}/events 2>/dev/null || true; }}"

    def read(self, output: list[str]) -> int:
        """A line `there`, then a name a line."""
        return len(output) - 1
