"""What a model saw of people in every frame of a video, kept beside its detections until the run's clips are made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shoal_detect.events.sightings import Seen

FILE = ".people.jsonl"
"""In the video's folder; hidden, as it is no result."""


def to_line(seen: Seen) -> bytes:
    """A frame's line; frames without people have one too."""
    rows = [
        [int(class_id), round(float(confidence), 4), *(round(float(edge), 5) for edge in box)]
        for class_id, confidence, box in zip(seen.class_id, seen.confidence, seen.boxes, strict=True)
    ]
    return (json.dumps([round(seen.time_s, 6), rows], separators=(",", ":")) + "\n").encode()


def read_seen(path: Path, start_s: float, end_s: float) -> Iterator[Seen]:
    """Those between two video times; none where the file is not there. Raises OSError."""
    if not path.is_file():
        return
    with path.open("rb") as stream:
        for line in stream:
            # The time stands first in a line: what lies before the stretch is not parsed, in a day's film most of it.
            time_s = float(line[1 : line.index(b",")])
            if time_s > end_s:
                return
            if time_s >= start_s:
                _, rows = json.loads(line)
                table = np.array(rows, dtype=np.float64).reshape(-1, 6)
                yield Seen(time_s, table[:, 2:], table[:, 1], table[:, 0].astype(np.int64))
