"""Chooses which of a file's video streams is the recording, and names the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import av
from av.stream import Disposition

NO_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
LOOKED_AT_PACKETS = 500
LOOKED_AT_BYTES = 64 << 20
FEW = 2
"""A stream with fewer packets is a picture beside a recording, not a recording."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A video stream that is in the file and was not read."""

    index: int
    codec: str | None
    width: int
    height: int
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What is read and what is not."""

    stream: av.VideoStream
    unread: list[Unread]


def candidates(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Streams of moving pictures; cover art is a "video stream" of one picture in sound files."""
    return [stream for stream in container.streams.video if not stream.disposition & NO_PICTURES]


def count_packets(container: av.container.InputContainer, streams: list[av.VideoStream]) -> Counter[int]:
    """Packets by stream in the first part of the file; `container` is of no use afterwards.

    Raises av.error.FFmpegError where nothing can be read.
    """
    counts: Counter[int] = Counter()
    size_bytes = 0
    for packet in container.demux(streams):
        counts[packet.stream_index] += packet.size > 0
        size_bytes += packet.size
        if sum(counts.values()) >= LOOKED_AT_PACKETS or size_bytes > LOOKED_AT_BYTES:
            break
    return counts


def choose(container: av.container.InputContainer, counts: Counter[int] | None) -> Choice | None:
    """The recording: of the streams that move, the largest; of equal ones the first. None where there is none."""
    streams = candidates(container)
    if not streams:
        return None

    def rank(stream: av.VideoStream) -> tuple[bool, bool, int, int]:
        moves = counts is None or counts[stream.index] >= FEW or stream.frames >= FEW
        return stream.codec_context is not None, moves, _area(stream), -stream.index

    chosen = max(streams, key=rank)
    return Choice(chosen, [_unread(stream, counts) for stream in container.streams.video if stream is not chosen])


def _area(stream: av.VideoStream) -> int:
    return stream.codec_context.width * stream.codec_context.height if stream.codec_context else 0


def _unread(stream: av.VideoStream, counts: Counter[int] | None) -> Unread:
    context = stream.codec_context
    if stream.disposition & NO_PICTURES:
        why = "a still picture"
    elif counts is not None and counts[stream.index] < FEW and stream.frames < FEW:
        why = "no more than one picture"
    else:
        why = "a second recording in the same file"
    return Unread(
        stream.index, context.name if context else None, context.width if context else 0,
        context.height if context else 0, why,
    )  # fmt: skip
