"""Reads a stretch of a recording that was read whole before: from the key frame in front of it, where that can be done.

Times are those of the first reading. Where the recording's clock jumps, its format has no times, or it has several
parts, it is read from its beginning again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import av
import av.error

from shoal_detect.read.decode import FALLBACK_TIME_BASE, OPTIONS, UNSTAMPED, Frame, Reading, Shown, read_frames
from shoal_detect.read.source import Source, Unopened, Window, opened, quietly
from shoal_detect.read.streams import choose
from shoal_detect.read.videos import Video

FAR_S = 5.0
"""What begins earlier in the recording is read from its beginning: looking for a key frame gains nothing."""


class Unreadable(Exception):  # noqa: N818 - an outcome of a stretch, not a failure of the program
    """Why the stretch cannot be read now, as the rest of a sentence."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """From a video time to another, both in it, in seconds."""

    start_s: float
    end_s: float


def read_span(
    video: Video, summary: dict[str, Any], stretch: Stretch, alive: Callable[[], None] = quietly
) -> Iterator[Frame]:
    """Its frames; their numbers count from the beginning of the reading. Raises Unreadable, and what `alive` raises.

    `summary` is the video's summary of the first reading.
    """
    if _plain(summary) and stretch.start_s > FAR_S:
        try:
            with opened(video.path, alive) as source:
                frames = _sought(source, stretch)
                if frames is not None:
                    yield from frames
                    return
        except (Unopened, OSError) as error:
            raise Unreadable(str(error)) from None
    reading = Reading()
    for frame in read_frames(video, reading, alive=alive):
        if frame.time_s > stretch.end_s + EDGE_S:
            return
        if frame.time_s >= stretch.start_s - EDGE_S:
            yield frame
    known = (summary.get("fault") or {}).get("kind")
    if reading.fault is not None and reading.fault.kind != known:
        raise Unreadable(f"{reading.fault.kind}: {reading.fault.message}")


EDGE_S = 0.0006
"""Times are kept in milliseconds."""


def _plain(summary: dict[str, Any]) -> bool:
    return not summary.get("clock_jumps") and not summary["decode_errors"] and summary.get("parts", 1) == 1


def _sought(source: Source, stretch: Stretch) -> Iterator[Frame] | None:
    """The frames from the key frame in front on, cut to the stretch; None where it cannot be found."""
    with suppress(av.error.FFmpegError):
        with _open(source) as container:
            chosen = choose(container, None)
            if chosen is None or UNSTAMPED & set(container.format.name.split(",")):
                return None
            first = next(container.decode(chosen.stream), None)
            if not isinstance(first, av.VideoFrame) or first.pts is None:
                return None
            begin = first.pts
        container = _open(source)
        chosen = choose(container, None)
        if chosen is None:
            return None
        stream = chosen.stream
        unit_s = float(stream.time_base or FALLBACK_TIME_BASE)
        container.seek(begin + int(stretch.start_s / unit_s), stream=stream, backward=True)
        images = _images(container, stream)
        head = next(images, None)
        if head is None or head.pts is None or (head.pts - begin) * unit_s > stretch.start_s + EDGE_S:
            container.close()
            return None
        return _cut(_Sought(head, images, stream, begin, unit_s), stretch)
    return None


def _open(source: Source) -> av.container.InputContainer:
    window = Window(source, 0, source.opened.size_bytes)
    return av.open(window, "r", options=OPTIONS, metadata_errors="replace")


def _images(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    with container:
        try:
            for image in container.decode(stream):
                if isinstance(image, av.VideoFrame) and image.pts is not None:
                    yield image
        except av.error.FFmpegError as error:
            raise Unreadable(f"reading stopped: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class _Sought:
    """A recording at the key frame in front of the stretch."""

    head: av.VideoFrame
    images: Iterator[av.VideoFrame]
    """What follows."""
    stream: av.VideoStream
    begin: int
    """Stamp of the recording's first frame."""
    unit_s: float


def _cut(sought: _Sought, stretch: Stretch) -> Iterator[Frame]:
    shown, index = Shown(), 0
    image: av.VideoFrame | None = sought.head
    while image is not None:
        shown.look(image, sought.stream)
        time_s = ((image.pts or 0) - sought.begin) * sought.unit_s
        if time_s > stretch.end_s + EDGE_S:
            return
        if time_s >= stretch.start_s - EDGE_S:
            yield Frame(index, time_s, image, shown.orientation, shown.pixel_aspect, shown.turner)
            index += 1
        image = next(sought.images, None)
