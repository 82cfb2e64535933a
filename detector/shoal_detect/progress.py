"""Progress lines on stdout: read by a person, and parsed by the runner by their prefix."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field

PREFIX = "shoal-detect: "
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


def say(text: str) -> None:
    """Print one line at once. Whoever read the lines may be gone: that does not end the run."""
    try:
        sys.stdout.write(f"{PREFIX}{text}\n")
        sys.stdout.flush()
    except OSError:
        # What is left in the buffer would fail again at exit; from here on nobody listens.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def say_error(text: str) -> None:
    """Print the one line on stderr that says why the program ends."""
    try:
        sys.stderr.write(f"{PREFIX}error: {text}\n")
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


@dataclass
class VideoProgress:
    """The running line of one video, printed about once a second."""

    position: str
    """Which of how many, e.g. `2/6`."""
    name: str
    frames_expected: int | None = None
    started: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)

    @property
    def head(self) -> str:
        """`video 2/6 "cam03.mp4"`."""
        return f"video {self.position} {quoted(self.name)}"

    def tick(self, frames: int, detections: int) -> None:
        """Say how far it is, unless that was said less than a second ago."""
        now = time.monotonic()
        if now - self._last < INTERVAL_S:
            return
        self._last = now
        rate = frames / (now - self.started)
        say(f"{self.head} {frames}/{self.frames_expected or '?'} frames {rate:.1f} frames/s {detections} detections")

    def done(self, frames: int, detections: int, decode_errors: int) -> None:
        """Say that the video is done."""
        damage = f", {decode_errors} decode errors" if decode_errors else ""
        say(f"{self.head} done: {frames} frames, {detections} detections{damage}")

    def fault(self, kind: str, message: str) -> None:
        """Say what is wrong with the video."""
        say(f"{self.head} FAULT {kind}: {message}")
