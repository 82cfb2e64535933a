"""What a node answers about its cameras. It is a stranger's word, and checked before anything is shown of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shoal import untrusted
from shoal.results.documents import Count, Figure, Text, Word
from shoal.untrusted import Bounds

BOUNDS = Bounds(size_bytes=4 << 20)
Gaps = Annotated[tuple["Gap", ...], Field(max_length=20)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Gap(_Part):
    """A time without film."""

    start: Figure
    end: Figure
    reason: Word
    detail: Text = ""


class Disk(_Part):
    """What may still be written on a disk."""

    free_bytes: Count
    files_left: Count | None = None
    read_only: bool


class Recorded(_Part):
    """One camera's recording, as its recorder wrote it down."""

    unit: bool
    trouble: Word | None
    detail: Text | None
    since_s: Figure | None
    segments: Count
    last_segment: Text | None
    last_end_s: Figure | None
    film_bytes: Count
    day_seconds: Figure
    day_bytes: Count
    day_gaps: Count
    day_gap_seconds: Figure
    last_gaps: Gaps
    removed_early: Count
    disk: Disk | None = None
    """Of its film."""
    slow_s: Figure | None = None
    """How long that took for its last file, where that is long."""


class Watched(_Part):
    """One camera's footage, as the watch knows it."""

    last_segment: Text | None
    last_closed_s: Figure | None
    last_lag_s: Figure | None
    behind_s: Figure
    backlog_segments: Count
    segments: Count
    frames: Count
    seconds: Figure
    faulty: Count
    gone: Count
    events: Count


class WatchStatus(_Part):
    """The watch's own word."""

    version: Literal[1]
    at_s: Figure
    stride: Count
    stride_wanted: Count
    processes: Count
    clips_to_make: Count = 0
    """Absent where the node still runs an older watch."""
    cameras: Annotated[dict[Word, Watched], Field(max_length=200)]


class Look(_Part):
    """All of a node."""

    version: Literal[1]
    at_s: Figure
    free_bytes: Count
    floor_bytes: Count
    state_disk: Disk | None = None
    """Of everything that recorders, watch and outbox note."""
    watching: bool
    watch: WatchStatus | None
    recorded: Annotated[dict[Word, Recorded], Field(max_length=200)]
    waiting: Annotated[dict[Text, Count], Field(max_length=1000)]


def look_of(raw: bytes, *, source: str) -> Look:
    """The answer in `raw`. Raises DamagedDocumentError."""
    return untrusted.document(raw, Look, source=source, bounds=BOUNDS)
