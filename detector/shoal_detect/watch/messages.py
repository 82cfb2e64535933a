"""What passes between the process that keeps the watch and the one that makes its events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shoal_detect.events.rules import Rules
from shoal_detect.model.precision import Precision
from shoal_detect.read.videos import Video
from shoal_detect.state.settings import Settings


@dataclass(frozen=True, slots=True)
class BeginEvents:
    """The first message."""

    settings: Settings
    rules: Rules
    precision: Precision
    every_frame: bool
    """Every frame is looked at while detecting, whatever gives way."""


@dataclass(frozen=True, slots=True)
class Take:
    """Take a camera's next file, whose detections are there. Answered by Alive, then Taken or Failed."""

    camera: str
    folder: str
    """Of the camera's footage, below the input folder."""
    segment: str
    """The file's name, relative to the input folder."""
    began_s: float | None
    """By its name, seconds since 1970."""
    video: Video
    early: bool = False
    """Out of its turn: alerts are made of the newest footage while older still waits."""
    blind: bool = False
    """The decoder died of a look whether something moved: no more such looks."""
    keep_days: int = 30
    """How long events are remembered."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The file is done, and its events are where the outbox finds them, their clips yet to be made."""

    events: tuple[str, ...]
    """Ids of those that are new."""
    summary: dict[str, Any]
    """Of the file: seconds, frames, fault."""


@dataclass(frozen=True, slots=True)
class MakeClip:
    """Make the clip of an event that was published without it. Answered by Alive, then ClipDone or Failed."""

    event_id: str
    given_up: str | None = None
    """Why it is not tried again."""


@dataclass(frozen=True, slots=True)
class ClipDone:
    """The event has its clip now, or the reason why it has none."""


@dataclass(frozen=True, slots=True)
class Alive:
    """Work goes on."""


@dataclass(frozen=True, slots=True)
class ForgetEarly:
    """What was taken out of its turn was reached."""

    camera: str
