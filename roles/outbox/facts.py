"""Facts of role `outbox`."""

from __future__ import annotations

import shlex

from roles.common.facts import Flag, NodeFact


class UnitsUnread(NodeFact[bool]):
    """Whether systemd has one of the units otherwise than its files are."""

    def command(self, units: tuple[str, ...]) -> str:
        """systemd's own word for each."""
        return f'for u in {shlex.join(units)}; do systemctl show "$u" -p NeedDaemonReload --value 2>/dev/null; done'

    @staticmethod
    def default() -> bool:
        """It has none of them."""
        return False

    def read(self, output: list[str]) -> bool:
        """`yes` or `no` a line."""
        return "yes" in output


class HoldsOthers(Flag):
    """Whether anything in the folder, or itself, is not the user's."""

    def command(self, folder: str, user: str) -> str:
        """The first that is found will do."""
        quoted = shlex.quote(folder)
        return f"[ ! -d {quoted} ] || find {quoted} ! -user {user} -print -quit 2>/dev/null || true"


class EventsWaiting(NodeFact[int | None]):
    """How many events wait in the outbox to be shipped; None where there is no outbox."""

    def command(self, folder: str) -> str:
        """One `find`."""
        quoted = shlex.quote(folder)
        return f"[ ! -d {quoted} ] || {{ echo there; find {quoted}/open -name '*.json' 2>/dev/null || true; }}"

    def read(self, output: list[str]) -> int:
        """A line `there`, then a line for each."""
        return len(output) - 1
