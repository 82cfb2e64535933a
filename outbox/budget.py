"""Bytes a day: reserved before an upload, settled after it. What a kill leaves reserved counts as spent.

So what went over the link is never more than what the budget says, whenever the power was cut.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from outbox import disk

VERSION = 1


@dataclass(frozen=True, slots=True)
class Spent:
    """Of one UTC day."""

    day: str
    """As 2026-11-30."""
    spent_bytes: int = 0
    reserved_bytes: int = 0


class Budget:
    """The day's account, kept in a file."""

    def __init__(self, path: Path, limit_bytes: int | None) -> None:
        self._path = path
        self.limit_bytes = limit_bytes

    def read(self, now_s: float) -> Spent:
        """Today's account. A clock that was set back does not give a fresh one. Raises ValueError on a damaged file."""
        today = time.strftime("%Y-%m-%d", time.gmtime(now_s))
        kept = self._kept()
        if kept is None:
            return Spent(today)
        if today > kept.day:
            return Spent(today, 0, kept.reserved_bytes)
        # The later day stays, or the account would begin anew when the clock is right again.
        return kept

    def _kept(self) -> Spent | None:
        document = disk.read_json(self._path)
        if document is None:
            return None
        try:
            return Spent(str(document["day"]), int(document["spent_bytes"]), int(document["reserved_bytes"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self._path} is damaged: {error!r}") from None

    def recover(self, now_s: float) -> None:
        """Count as spent what an ended process had reserved, and note the day, where nothing is sent on it either.

        Else a clock that is set back later would book on an older day, and the right day begin anew.
        """
        kept = self.read(now_s)
        recovered = Spent(kept.day, kept.spent_bytes + kept.reserved_bytes, 0)
        if recovered != self._kept():
            self._write(recovered)

    def left_bytes(self, now_s: float) -> int | None:
        """What may still be sent today; None where there is no limit."""
        kept = self.read(now_s)
        return None if self.limit_bytes is None else max(0, self.limit_bytes - kept.spent_bytes - kept.reserved_bytes)

    def reserve(self, now_s: float, wanted_bytes: int) -> bool:
        """Put bytes aside for what is begun now; False where they do not fit into the day."""
        left = self.left_bytes(now_s)
        if left is not None and wanted_bytes > left:
            return False
        kept = self.read(now_s)
        self._write(Spent(kept.day, kept.spent_bytes, kept.reserved_bytes + wanted_bytes))
        return True

    def settle(self, now_s: float, reserved_bytes: int, used_bytes: int) -> None:
        """Give back what was reserved and count what was used of it."""
        kept = self.read(now_s)
        still = max(0, kept.reserved_bytes - reserved_bytes)
        self._write(Spent(kept.day, kept.spent_bytes + used_bytes, still))

    def _write(self, spent: Spent) -> None:
        disk.write_json(self._path, {"version": VERSION, **asdict(spent)})
