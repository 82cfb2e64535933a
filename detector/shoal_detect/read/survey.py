"""How large the pictures of recordings are, by their headers: before any of them is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import av
import av.error

from shoal_detect.memory import Picture
from shoal_detect.read.decode import OPTIONS
from shoal_detect.read.source import Unopened, Window, opened
from shoal_detect.read.streams import choose
from shoal_detect.read.videos import Video

USUAL_BITS = 12
"""A pixel of yuv420p: where the header does not say how pixels are stored."""


def largest_picture(videos: Iterable[Video], alive: Callable[[], None]) -> Picture:
    """The pixels and the bytes that no picture of these videos exceeds, as far as they can be opened.

    `alive` is called before every read of a file; what it raises is raised here.
    """
    largest = Picture(0, 0)
    for video in videos:
        if video.problem is None:
            with suppress(Unopened, OSError, av.error.FFmpegError):  # the run itself will say so
                found = _picture(video, alive)
                largest = Picture(max(largest.pixels, found.pixels), max(largest.stored_bytes, found.stored_bytes))
    return largest


def _picture(video: Video, alive: Callable[[], None]) -> Picture:
    with opened(video.path, alive) as source:
        window = Window(source, 0, source.opened.size_bytes)
        with av.open(window, "r", options=OPTIONS, metadata_errors="replace") as container:
            chosen = choose(container, None)
            context = None if chosen is None else chosen.stream.codec_context
            if context is None:
                return Picture(0, 0)
            pixels = context.width * context.height
            bits = context.format.padded_bits_per_pixel if context.format else USUAL_BITS
            return Picture(pixels, pixels * bits // 8)
