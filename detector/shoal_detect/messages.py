"""What passes between the process that keeps the run and the one that works on videos."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from shoal_detect.errors import DetectorError, Exit, Interrupted
from shoal_detect.events.rules import Rules
from shoal_detect.model.precision import Choice, Precision
from shoal_detect.progress import VideoProgress
from shoal_detect.read.faults import Fault
from shoal_detect.read.videos import Video
from shoal_detect.state.settings import Settings
from shoal_detect.state.store import Document


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
class Task:
    """Process a video. Answered by Done or Failed."""

    video: Video
    progress: VideoProgress
    frames: int | None = None
    """Read no further; None: to the end."""
    fault: Fault | None = None
    """The fault that is known already."""


@dataclass(frozen=True, slots=True)
class Done:
    """The video's summary."""

    summary: Document


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
class MakeEvents:
    """To the process that makes events. Answered by MakingClip and Alive as it goes on, then None or Failed."""

    settings: Settings
    weights_sha256: str
    rules: Rules
    precision: Precision
    videos: list[Video]
    summaries: list[Document]
    given_up: dict[str, str] = field(default_factory=dict)
    """Why the clip of an event is not tried again, by id."""


@dataclass(frozen=True, slots=True)
class MakingClip:
    """A clip is begun."""

    event_id: str
    text: str
    """What it shows, for people."""


@dataclass(frozen=True, slots=True)
class Alive:
    """Work goes on."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Memory that both share: signs of life, and frames that are read. A descriptor makes it, or takes it up."""

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
