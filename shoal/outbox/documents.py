"""What a node's outbox answers: its status and its events. The room `outbox` on the node has the schema; a test holds
the two together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shoal import untrusted
from shoal.results.documents import Count, Figure, Sha256, Text, Word
from shoal.results.events import EVENTS_MOST, EventId, Privacy, Severity
from shoal.untrusted import Bounds

STATUS_BOUNDS = Bounds(size_bytes=1 << 20)
LINE_BOUNDS = Bounds(size_bytes=64 << 10)
EVENTS_BYTES = 256 << 20
"""Of the answer that lists the events."""
Utc = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Sum(_Part):
    """Objects of one kind."""

    events: Count
    clips: Count
    size_bytes: Count


class Waiting(_Part):
    """What was not shipped yet."""

    alerts: Sum
    records: Sum
    oldest_at: Utc | None


class Shipped(Sum):
    """What was seen in the store with size and hash."""

    last_at: Utc | None


class DroppedObject(_Part):
    """One thing that was never shipped."""

    key: Text
    camera: Text
    severity: Severity
    size_bytes: Count
    why: Text
    at: Utc


class Dropped(Sum):
    """What was given up."""

    recent: Annotated[tuple[DroppedObject, ...], Field(max_length=50)]


class DayBudget(_Part):
    """Of one UTC day."""

    day: Word
    spent_bytes: Count
    limit_bytes: Count | None


class StoreState(_Part):
    """How the store behaves."""

    failures: Count
    since: Utc | None
    again_at: Utc | None
    code: Word | None
    trouble: Text | None


class DiskState(_Part):
    """The disk of the outbox."""

    free_bytes: Count
    floor_bytes: Count


class OutboxStatus(_Part):
    """The status document of one node."""

    version: Literal[1]
    node: Word
    at: Utc
    to: Text
    paused: bool
    rate: Word
    waiting: Waiting
    shipped: Shipped
    dropped: Dropped
    without_clip: Count
    budget: DayBudget
    store: StoreState
    disk: DiskState
    alarms: Annotated[tuple[Text, ...], Field(max_length=100)]


class ShippedPart(_Part):
    """One object of an event's."""

    kind: Literal["event", "clip"]
    key: Text
    state: Literal["waiting", "shipped", "dropped"]
    size_bytes: Count
    sha256: Sha256
    shipped_at: Utc | None
    trouble: Text | None


class OutboxEvent(_Part):
    """An event as a node's outbox knows it."""

    event: EventId
    run: Word
    camera: Text
    severity: Severity
    start_utc: Word | None
    start_s: Figure
    end_s: Figure
    privacy: Privacy
    no_clip: Text | None
    parts: Annotated[tuple[ShippedPart, ...], Field(max_length=2)]

    def state(self, kind: str) -> str:
        """`waiting`, `shipped` or `dropped` of its document or clip; empty where it has none."""
        return next((part.state for part in self.parts if part.kind == kind), "")


def status_of(raw: bytes, *, source: str) -> OutboxStatus:
    """The status in `raw`. Raises DamagedDocumentError."""
    return untrusted.document(raw, OutboxStatus, source=source, bounds=STATUS_BOUNDS)


def events_of(raw: bytes, *, source: str) -> tuple[OutboxEvent, ...]:
    """The events in `raw`, a line each. Raises DamagedDocumentError."""
    return tuple(untrusted.lines(raw, OutboxEvent, source=source, most=EVENTS_MOST, bounds=LINE_BOUNDS))
