"""The detector's progress lines read: what the runner shows while containers run."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

PREFIX = "shoal-detect: "
_RUN = re.compile(r"run \S+: (?P<videos>\d{1,9}) videos, (?P<done>\d{1,9}) done already$")
_VIDEO = re.compile(r'video (?P<index>\d{1,9})/(?P<videos>\d{1,9}) "(?P<name>(?:[^"\\]|\\.)*)" (?P<rest>.*)$')
_FRAMES = re.compile(
    r"(?P<frame>\d{1,12})/(?P<frames>\d{1,12}|\?) frames (?P<rate>\d{1,12}(?:\.\d{1,12})?) frames/s "
    r"(?P<detections>\d{1,12}) detections$"
)
_DONE = re.compile(r"done: \d{1,12} frames, (?P<detections>\d{1,12}) detections(?:, \d+ decode errors)?$")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a node is, from the lines it has printed so far."""

    videos: int = 0
    video: int = 0
    """The number of the video in hand, from 1."""
    name: str = ""
    """As the detector wrote it: signs that would disturb a terminal are escaped."""
    frame: int = 0
    frames: int | None = None
    frames_per_s: float = 0.0
    detections: int = 0
    """In the videos that ended and the one in hand."""
    earlier_detections: int = 0
    faults: int = 0
    note: str = ""

    def after(self, line: str) -> tuple[Progress, bool]:
        """The progress after one more line, and whether the line tells more than a passing figure."""
        if not line.startswith(PREFIX):
            return self, True
        text = line.removeprefix(PREFIX)
        if match := _RUN.match(text):
            return replace(self, videos=int(match["videos"]), note=text), True
        if not (match := _VIDEO.match(text)):
            return replace(self, note=text), True
        seen = replace(self, videos=int(match["videos"]), video=int(match["index"]), name=match["name"], note="")
        rest = match["rest"]
        if figures := _FRAMES.match(rest):
            detections = seen.earlier_detections + int(figures["detections"])
            frames = None if figures["frames"] == "?" else int(figures["frames"])
            rate = float(figures["rate"])
            frame = int(figures["frame"])
            return replace(seen, frame=frame, frames=frames, frames_per_s=rate, detections=detections), False
        if done := _DONE.match(rest):
            total = seen.earlier_detections + int(done["detections"])
            return replace(seen, detections=total, earlier_detections=total, frame=0, frames=None), True
        return replace(seen, faults=seen.faults + rest.startswith("FAULT ")), True
