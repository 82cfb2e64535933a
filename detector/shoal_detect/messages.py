"""What passes between the process that keeps the run and the one that works on videos."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shoal_detect.errors import DetectorError, Exit, Interrupted
from shoal_detect.events.rules import Rules
from shoal_detect.memory import Picture
from shoal_detect.model.precision import Choice, Precision
from shoal_detect.read.faults import Fault
from shoal_detect.read.videos import Video
from shoal_detect.state.settings import Settings
from shoal_detect.state.store import Document

if TYPE_CHECKING:  # the process that keeps the run loads no FFmpeg of its own accord
    from shoal_detect.read.decode import Reading


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message: load the model. Answered by Ready or Failed."""

    settings: Settings
    weights_sha256: str
    precision: Precision


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""


@dataclass(frozen=True, slots=True)
class Try:
    """Try precisions on these videos. Answered by Tried or Failed."""

    videos: Sequence[Video]


@dataclass(frozen=True, slots=True)
class Tried:
    """What the trial came to."""

    choice: Choice


@dataclass(frozen=True, slots=True)
class Survey:
    """Ask how large the pictures of these videos are. Answered by Surveyed or Failed."""

    videos: Sequence[Video]


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The largest."""

    picture: Picture


@dataclass(frozen=True, slots=True)
class Task:
    """Process a video. Answered by Done, Read, Left or Failed."""

    video: Video
    first: int = 0
    """The segment to begin with."""
    frames: int | None = None
    """Read no further; None: to the end."""
    fault: Fault | None = None
    """The fault that is known already."""
    stride: int | None = None
    """Instead of the settings'."""


@dataclass(frozen=True, slots=True)
class Join:
    """All segments of a video are done: make its results of them. Answered by Done or Failed."""

    video: Video
    reading: Reading


@dataclass(frozen=True, slots=True)
class Done:
    """The video's summary."""

    summary: Document


@dataclass(frozen=True, slots=True)
class Read:
    """A video's end was reached, while others are still at work on segments before."""

    reading: Reading


@dataclass(frozen=True, slots=True)
class Left:
    """Stopped before the end of the video, where another process took over."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A DetectorError or Interrupted on its way; they cannot be pickled themselves."""

    message: str = ""
    exit_code: int = 0
    signal_number: int | None = None

    def error(self) -> DetectorError | Interrupted:
        """The error again."""
        if self.signal_number is not None:
            return Interrupted(self.signal_number)
        return DetectorError(self.message, Exit(self.exit_code))


@dataclass(frozen=True, slots=True)
class FindEvents:
    """All videos are done: find the run's events. Answered by FoundEvents or Failed."""

    rules: Rules
    videos: Sequence[Video]
    summaries: Sequence[Document]


@dataclass(frozen=True, slots=True)
class EventFound:
    """An event whose clip is to be made."""

    event_id: str
    text: str
    """What it shows, for people."""
    video_ids: Sequence[str]
    """Of the footage of its clip."""
    pickled: bytes
    """The event and its camera, cut to the clip's footage: the process that keeps the run passes them on unread."""


@dataclass(frozen=True, slots=True)
class FoundEvents:
    """The run's events, in the order of `events.jsonl`."""

    events: Sequence[EventFound]
    cameras: Mapping[str, Sequence[str]]
    """Videos by camera, in their order."""


@dataclass(frozen=True, slots=True)
class MakeClip:
    """Make an event's clip. Answered by Kept or Failed."""

    rules: Rules
    videos: Sequence[Video]
    event: EventFound
    given_up: str | None = None
    """Why its clip is not tried again."""


@dataclass(frozen=True, slots=True)
class WriteEvents:
    """All clips are made: write `events.jsonl`. Answered by Kept or Failed."""

    event_ids: Sequence[str]
    video_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Kept:
    """It is on the disk."""


Question = Task | Join | Try | Survey | FindEvents | MakeClip | WriteEvents
"""What a child is asked once its model is loaded."""


_PROGRESS_AT, _END_AT = 64, 128
"""Bytes from the start of a Beat; each is written by one side only."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Memory that both share: signs of life, progress, and where to stop. A descriptor makes it, or takes it up."""

    handle: int
    shared: mmap.mmap

    @classmethod
    def on(cls, handle: int) -> Beat:
        """On a descriptor of at least a page."""
        return cls(handle, mmap.mmap(handle, mmap.PAGESIZE))

    @classmethod
    def made(cls) -> Beat:
        """New, all zero."""
        handle = os.memfd_create("shoal-detect")
        os.ftruncate(handle, mmap.PAGESIZE)
        return cls.on(handle)

    def set(self, frames: int) -> None:
        """So many frames are read."""
        struct.pack_into("qq", self.shared, 0, self.get()[0] + 1, frames)

    def get(self) -> tuple[int, int]:
        """Signs of life so far, and frames read."""
        signs, frames = struct.unpack_from("qq", self.shared)
        return signs, frames

    def set_progress(self, segment: int, frames: int, detections: int, frames_expected: int) -> None:
        """How far the work is: the segment in hand, frames and detections of this task; 0 expected: not known."""
        struct.pack_into("qqqq", self.shared, _PROGRESS_AT, segment, frames, detections, frames_expected)

    def progress(self) -> tuple[int, int, int, int]:
        """What `set_progress` set."""
        segment, frames, detections, expected = struct.unpack_from("qqqq", self.shared, _PROGRESS_AT)
        return segment, frames, detections, expected

    def set_end(self, segment: int | None) -> None:
        """Stop before this segment."""
        struct.pack_into("q", self.shared, _END_AT, -1 if segment is None else segment)

    def end(self) -> int | None:
        """What `set_end` set."""
        (segment,) = struct.unpack_from("q", self.shared, _END_AT)
        return None if segment < 0 else segment
