"""The detector's output read: events by the contract of `detector/schemas/progress.schema.json`, all else plain text.

A line comes from a node. Nothing in it is believed beyond its type: names are escaped, texts are cut to a bounded
length, and a line that is not quite an event is shown as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

FORMAT = 1
MAX_TEXT = 500
"""Characters of a line that are shown; what is cut is marked."""
MAX_NAME = 200
CUT = " [cut]"
MOST_IN_HAND = 1024
"""Videos that a node is at; one that names more makes no sense, and is not remembered."""
MAX_EVENT = 16 * 1024
"""A longer line is no event: the longest path of a file, escaped, and the figures beside it."""
_START = '{"shoal_detect"'

Count = Annotated[int, Field(ge=0, le=2**63)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    shoal_detect: Literal[1]


class RunEvent(_Event):
    """What the run has before it."""

    event: Literal["run"]
    run: str
    videos: Count
    videos_done: Count
    size_bytes: Count
    done_size_bytes: Count

    @property
    def text(self) -> str:
        """For people."""
        return f"run {shown(self.run)}: {self.videos} videos, {self.videos_done} done already"


class _OfVideo(_Event):
    number: Annotated[int, Field(ge=1, le=2**63)]
    videos: Count
    video: str
    size_bytes: Count

    @property
    def head(self) -> str:
        """`video 2/6 "cam03.mp4"`."""
        return f"video {self.number}/{self.videos} {quoted(self.video)}"


class FramesEvent(_OfVideo):
    """How far a video is."""

    event: Literal["frames"]
    frame: Count
    frames: Count | None
    frames_per_s: Rate
    detections: Count

    @property
    def text(self) -> str:
        """For people."""
        of = "?" if self.frames is None else self.frames
        return f"{self.head} {self.frame}/{of} frames {self.frames_per_s:.1f} frames/s {self.detections} detections"


class VideoDoneEvent(_OfVideo):
    """A video is done."""

    event: Literal["video_done"]
    frames: Count
    detections: Count
    decode_errors: Count

    @property
    def text(self) -> str:
        """For people."""
        damage = f", {self.decode_errors} decode errors" if self.decode_errors else ""
        return f"{self.head} done: {self.frames} frames, {self.detections} detections{damage}"


class VideoFaultEvent(_OfVideo):
    """A video is done, and faulty."""

    event: Literal["video_fault"]
    kind: str
    message: str
    frames: Count
    detections: Count

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.head} FAULT {shown(self.kind)}: {shown(self.message)}"


class DoneEvent(_Event):
    """The node is done."""

    event: Literal["done"]
    videos: Count
    faulty: Count
    frames: Count
    detections: Count

    @property
    def text(self) -> str:
        """For people."""
        return f"done: {self.videos} videos, {self.faulty} faulty, {self.frames} frames, {self.detections} detections"


class WordsEvent(_Event):
    """A sentence in passing, or why it waits for the lock."""

    event: Literal["note", "waiting"]
    words: Annotated[str, Field(alias="text")]

    @property
    def text(self) -> str:
        """For people."""
        return shown(self.words)


class ErrorEvent(_Event):
    """Why the program ends."""

    event: Literal["error"]
    words: Annotated[str, Field(alias="text")]
    exit_code: int

    @property
    def text(self) -> str:
        """For people."""
        return f"error: {shown(self.words)}"


Event = RunEvent | FramesEvent | VideoDoneEvent | VideoFaultEvent | DoneEvent | WordsEvent | ErrorEvent
_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output: what to show, and the event where it is one."""

    text: str
    event: Event | None = None


def read(line: str) -> Line:
    """A line as it came. Never raises: what is no event is text."""
    if line.startswith(_START) and len(line) <= MAX_EVENT:
        try:
            event = _EVENTS.validate_json(line)
        except ValidationError:
            return Line(shown(line))
        return Line(shown(event.text), event)
    return Line(shown(line))


def plain(line: str) -> str:
    """A line for people, whatever it is."""
    return read(line).text


def shown(text: str, *, most: int = MAX_TEXT) -> str:
    """`text` in one line of `most` characters at most, in which nothing can steer a terminal."""
    cut = text if len(text) <= most else text[: most - len(CUT)] + CUT
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in cut)


def shown_whole(text: str) -> str:
    """As `shown`, however long it is: for words that were bounded before."""
    return shown(text, most=len(text))


def quoted(name: str) -> str:
    """A file's name in quotes, as JSON escapes it."""
    return json.dumps(shown(name, most=MAX_NAME), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class InHand:
    """A video that a node is at; there are as many at once as it has processors for."""

    size_bytes: int
    share: float
    """Of its frames that are done, 0 to 1."""
    detections: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a node is, from the events it has reported so far."""

    videos: int = 0
    videos_done: int = 0
    video: int = 0
    """The number of the video in hand, from 1."""
    name: str = ""
    frame: int = 0
    frames: int | None = None
    frames_per_s: float = 0.0
    detections: int = 0
    """In the videos that ended and the one in hand."""
    earlier_detections: int = 0
    in_hand: Mapping[int, InHand] = field(default_factory=dict)
    """By the number of the video."""
    faults: int = 0
    size_bytes: int = 0
    """Of all videos of the node."""
    done_size_bytes: int = 0
    waiting: bool = False
    """Whether another container has the run's folder."""

    def after(self, line: Line) -> tuple[Progress, bool]:
        """The progress after one more line, and whether the line is more than a passing figure."""
        event = line.event
        if event is None:
            return self, True
        seen = replace(self, waiting=isinstance(event, WordsEvent) and event.event == "waiting")
        if isinstance(event, RunEvent):
            return replace(
                seen,
                videos=event.videos,
                videos_done=event.videos_done,
                size_bytes=event.size_bytes,
                done_size_bytes=event.done_size_bytes,
                in_hand={},
            ), True
        if not isinstance(event, _OfVideo):
            return seen, True
        seen = replace(
            seen,
            videos=event.videos,
            video=event.number,
            name=shown(event.video),
        )
        if isinstance(event, FramesEvent):
            share = min(event.frame / event.frames, 1.0) if event.frames else 0.0
            in_hand = {**self.in_hand, event.number: InHand(event.size_bytes, share, event.detections)}
            if len(in_hand) > MOST_IN_HAND:
                in_hand = {event.number: in_hand[event.number]}
            detections = seen.earlier_detections + sum(one.detections for one in in_hand.values())
            return replace(
                seen,
                in_hand=in_hand,
                frame=event.frame,
                frames=event.frames,
                frames_per_s=event.frames_per_s,
                detections=detections,
            ), False
        if not isinstance(event, VideoDoneEvent | VideoFaultEvent):
            return seen, True
        earlier = seen.earlier_detections + event.detections
        in_hand = {number: one for number, one in self.in_hand.items() if number != event.number}
        return replace(
            seen,
            detections=earlier + sum(one.detections for one in in_hand.values()),
            earlier_detections=earlier,
            in_hand=in_hand,
            videos_done=seen.videos_done + 1,
            done_size_bytes=seen.done_size_bytes + event.size_bytes,
            frame=0,
            frames=None,
            faults=seen.faults + isinstance(event, VideoFaultEvent),
        ), True

    @property
    def share(self) -> float | None:
        """How much of the node's footage is done, 0 to 1, by the size of the files; None before anything is known."""
        if not self.videos:
            return None
        if self.videos_done >= self.videos:
            return 1.0
        if not self.size_bytes:
            return min((self.videos_done + sum(one.share for one in self.in_hand.values())) / self.videos, 1.0)
        in_hand_bytes = sum(one.share * one.size_bytes for one in self.in_hand.values())
        return min((self.done_size_bytes + in_hand_bytes) / self.size_bytes, 1.0)
