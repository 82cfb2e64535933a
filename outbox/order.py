"""What goes next: events' documents before clips, alerts before records, the newest first."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from outbox.ledger import ALERT, CLIP, EVENT, SHIPPED, WAITING, Entry, Part

LONGEST_WAIT_S = 900.0
"""After a failure."""
Item = tuple[Entry, Part]


def ready(entries: Iterable[Entry], now_s: float) -> list[Item]:
    """Everything that may be sent now, the weightiest first. A clip waits until its event's document was shipped."""
    return sorted(_candidates(entries, now_s), key=_weight)


def _candidates(entries: Iterable[Entry], now_s: float) -> Iterator[Item]:
    for entry in entries:
        document = entry.part(EVENT)
        for part in entry.parts:
            # A clock that was set back must not make the wait longer than it can be.
            if part.state != WAITING or now_s < part.not_before_s <= now_s + LONGEST_WAIT_S:
                continue
            if part.kind == CLIP and document is not None and document.state != SHIPPED:
                continue
            yield entry, part


def _weight(item: Item) -> tuple[bool, bool, _Newest, str]:
    entry, part = item
    return part.kind == CLIP, entry.severity != ALERT, _Newest(when(entry)), entry.id


def when(entry: Entry) -> tuple[str, float]:
    """When it happened, for comparing; by its time in the video where only the time of finding is known."""
    return entry.start_utc or _utc(entry.collected_at_s), entry.start_s


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


class _Newest:
    """Turns an order round."""

    __slots__ = ("of",)

    def __init__(self, of: tuple[str, float]) -> None:
        self.of = of

    def __lt__(self, other: _Newest) -> bool:
        return other.of < self.of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Newest) and other.of == self.of

    __hash__ = None  # type: ignore[assignment]
