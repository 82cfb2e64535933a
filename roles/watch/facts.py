"""Facts of role `watch`."""

from __future__ import annotations

import shlex

from roles.common.facts import PathList


class WatchState(PathList):
    """The watch's folder and the events in it; empty where it is not there."""

    def command(self, folder: str) -> str:
        """One look."""
        quoted = shlex.quote(folder)
        return (
            f"[ ! -d {quoted} ] || {{ echo {quoted}; find {quoted}/events -mindepth 1 -maxdepth 1 2>/dev/null; true; }}"
        )
