"""How large a run's results will be, before it is begun: so that one which will not fit is not begun."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

PICTURE_BYTES = 60_000
"""Of a key frame, 960 pixels at the most: 48 to 52 kB on the sample clips, all of one campus."""
DOCUMENTS_BYTES = 8_000
"""Of a video's summary and its entries in the node's summary and manifest: 2 kB each on the sample clips."""
DETECTIONS_SHARE = 0.05
"""Detections of footage of which every frame is looked at, as a part of its size: eight on a frame, 150 bytes each, for
a frame of 24 kB (5 Mbit/s at 25 frames/s)."""
PICTURES = 3
"""The detector's own number of key frames a video."""


def results_bytes(videos: int, footage_bytes: int, arguments: Sequence[str] = ()) -> int:
    """Size of one node's results over `videos` files of `footage_bytes` in all, with the detector's `arguments`.

    An estimate for footage of ordinary streets: an empty yard has less, a crowd more.
    """
    pictures = _after(arguments, "--key-frames", PICTURES)
    stride = max(_after(arguments, "--stride", 1), 1)
    return videos * (pictures * PICTURE_BYTES + DOCUMENTS_BYTES) + round(footage_bytes * DETECTIONS_SHARE / stride)


def _after(words: Sequence[str], flag: str, otherwise: int) -> int:
    for word, value in itertools.pairwise(words):
        if word == flag and value.isdigit():
            return int(value[:6])
    return otherwise
