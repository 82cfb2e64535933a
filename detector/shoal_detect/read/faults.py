"""What can be wrong with a video as a whole: one word for programs, one sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The words; `docs/recordings.md` says what to do about each, `video_summary.schema.json` lists them too."""

    EMPTY = "empty"
    """The file has 0 bytes."""
    UNREADABLE = "unreadable"
    """It cannot be opened, read, or taken for a video."""
    GROWING = "growing"
    """It is still being written; nothing of it was read, or it grew while it was read."""
    CHANGED = "changed"
    """It was cut or written over while it was read."""
    TRUNCATED = "truncated"
    """Its end is missing."""
    ENCRYPTED = "encrypted"
    """Its pictures are encrypted."""
    UNSUPPORTED_CODEC = "unsupported_codec"
    """There is no decoder for its pictures."""
    CODEC_CHANGED = "codec_changed"
    """Its pictures go on in a form that cannot be read."""
    WRONG_HEADER = "wrong_header"
    """Its header does not describe its data."""
    FRAMES_MISSING = "frames_missing"
    """More frames are missing in it than a recording may lose without a word."""
    NO_FRAMES = "no_frames"
    """Its video stream holds no frame that can be decoded."""
    NO_VIDEO_STREAM = "no_video_stream"
    """There are no moving pictures in it."""
    DECODER_CRASHED = "decoder_crashed"
    """The decoder's process died of it."""
    DECODER_STUCK = "decoder_stuck"
    """Nothing came of it for longer than a decoder may take; its process was ended."""
    OUT_OF_MEMORY = "out_of_memory"
    """Its process was killed for want of memory, again and again: a watch goes on without it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a video as a whole."""

    kind: Kind
    message: str
