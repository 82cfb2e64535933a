"""Progress, one JSON object a line (`schemas/progress.schema.json`): whoever shows it makes sentences of it."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any

FORMAT = 1
"""The first field of every line, by which a reader knows it from other programs' words."""
INTERVAL_S = 1.0


def quoted(name: str) -> str:
    r"""`name` in double quotes, on one line: control characters, quotes and backslashes are escaped as in JSON.

    >>> print(quoted('a "b"\nc.mp4'))
    "a \"b\"\nc.mp4"
    """
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(c) or (c if c.isprintable() else _escaped(c)) for c in name) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def report(event: str, **fields: Any) -> None:
    """Print one event on stdout at once. Whoever read the lines may be gone: that does not end the run."""
    _print(1, event, fields)


def say(text: str) -> None:
    """Report in words what is for people alone."""
    report("note", text=text)


def report_error(text: str, exit_code: int) -> None:
    """Print the one line on stderr that says why the program ends."""
    _print(2, "error", {"text": text, "exit_code": exit_code})


def _print(descriptor: int, event: str, fields: dict[str, Any]) -> None:
    stream = sys.stdout if descriptor == 1 else sys.stderr
    try:
        # ASCII alone: no name of a file can steer a terminal, break the line, or fail to be encoded.
        stream.write(json.dumps({"shoal_detect": FORMAT, "event": event, **fields}) + "\n")
        stream.flush()
    except OSError:
        # What is left in the buffer would fail again at exit; from here on there is no reader.
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


@dataclass
class VideoProgress:
    """What is reported of one video: how far it is about once a second, and its end."""

    number: int
    """From 1."""
    videos: int
    name: str
    size_bytes: int
    frames_expected: int | None = None
    started: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)

    def tick(self, frames: int, detections: int) -> None:
        """Report how far it is, unless that was reported less than a second ago."""
        now = time.monotonic()
        if now - self._last < INTERVAL_S:
            return
        self._last = now
        rate = round(frames / (now - self.started), 1)
        self._report("frames", frame=frames, frames=self.frames_expected, frames_per_s=rate, detections=detections)

    def done(self, frames: int, detections: int, decode_errors: int) -> None:
        """Report that the video is done."""
        self._report("video_done", frames=frames, detections=detections, decode_errors=decode_errors)

    def fault(self, kind: str, message: str, frames: int, detections: int) -> None:
        """Report what is wrong with the video, and what was found before that."""
        self._report("video_fault", kind=kind, message=message, frames=frames, detections=detections)

    def _report(self, event: str, **fields: Any) -> None:
        of = {"number": self.number, "videos": self.videos, "video": self.name, "size_bytes": self.size_bytes}
        report(event, **of, **fields)
