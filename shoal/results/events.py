"""One line of `events.jsonl`, a period of one camera in which something significant happened.

`detector/schemas/event.schema.json` is the contract and says where the files lie; a test holds the two together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shoal import untrusted
from shoal.results.documents import Figure, Sha256, Text, Word
from shoal.untrusted import Bounds, DamagedDocumentError

EVENTS_FILE = "events.jsonl"
LINE_BOUNDS = Bounds(size_bytes=4 << 20, marks=400_000)
"""Of one event: some thousand objects with an hour of path each."""
FILE_BYTES = 64 << 20
"""Of the whole file."""
EVENTS_MOST = 100_000
"""Of one run, or of one node's cameras: each takes some kilobytes of memory here."""

Privacy = Literal["people", "people-and-vehicles", "off"]
Severity = Literal["alert", "record"]
Fraction = Annotated[float, Field(ge=0, le=1)]
EventId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class EventObject(_Part):
    """An object that made the event."""

    track: Annotated[int, Field(ge=1)]
    class_name: Annotated[Word, Field(alias="class", min_length=1)]
    confidence: Fraction
    severity: Severity
    rule: Annotated[Word, Field(min_length=1)]
    start_s: Figure
    end_s: Figure
    box: tuple[Fraction, Fraction, Fraction, Fraction]
    """Left, top, right, bottom in fractions of the picture."""
    path: Annotated[tuple[tuple[Figure, Figure, Figure], ...], Field(min_length=1)]
    """Seconds, and the bottom centre in fractions of the picture."""


class EventClip(_Part):
    """The event's footage."""

    file: Annotated[str, StringConstraints(pattern=r"^clips/[0-9a-f]{32}\.mp4$")] | None
    sha256: Sha256 | None
    size_bytes: Annotated[int, Field(ge=1)] | None
    frames: Annotated[int, Field(ge=1)] | None
    start_s: Figure
    end_s: Figure
    state: Literal["verified", "quarantined", "none", "pending"]
    reason: Text | None


class Event(_Part):
    """One line of events.jsonl."""

    version: Literal[1]
    id: EventId
    camera: Annotated[Text, Field(min_length=1)]
    videos: Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], Field(min_length=1)]
    start_utc: Word | None
    end_utc: Word | None
    start_s: Figure
    end_s: Figure
    severity: Severity
    rule: Annotated[Word, Field(min_length=1)]
    reason: Annotated[Text, Field(min_length=1)]
    privacy: Privacy
    objects: Annotated[tuple[EventObject, ...], Field(min_length=1)]
    key_frame: Annotated[str, StringConstraints(pattern=r"^clips/[0-9a-f]{32}\.jpg$")] | None
    clip: EventClip | None


def read_events(path: Path) -> tuple[Event, ...]:
    """All events of a file, in its order. Raises OSError and DamagedDocumentError."""
    if path.stat().st_size > FILE_BYTES:
        raise DamagedDocumentError(f"{path} is larger than {FILE_BYTES} bytes")
    raw = path.read_bytes()
    return tuple(untrusted.lines(raw, Event, source=str(path), most=EVENTS_MOST, bounds=LINE_BOUNDS))
