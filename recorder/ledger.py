"""What was recorded and what was not: every segment with its time, every gap with its reason.

`segments.jsonl` and `gaps.jsonl` in the camera's state folder; times are seconds since 1970, UTC.
"""

from __future__ import annotations

import calendar
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from recorder import files
from recorder.settings import Settings

STAGING = ".recording"
"""Below the camera's folder: what is being written. Hidden names are no footage to any reader."""
NAME = re.compile(r"(\d{8}T\d{6}Z)(?:-\d+)?\.mp4")
PATTERN = "%Y%m%dT%H%M%SZ.mp4"
"""For ffmpeg, whose time zone is UTC."""
LEAST_GAP_S = 2.0
"""Names have whole seconds: less between two segments is no gap."""


@dataclass(frozen=True)
class Segment:
    """One closed file."""

    file: str
    """Below the camera's folder: `2026-11-30/20261130T081500Z.mp4`."""
    start: float
    end: float
    size_bytes: int
    inode: int
    """Distinguishes our file from one that another program wrote under its name."""


@dataclass(frozen=True)
class Gap:
    """A time without film."""

    start: float
    end: float
    reason: str
    """camera_lost, camera_refused, no_segment, stopped, killed, node_down, clock_changed, disk_full, disk_read_only,
    disk_failed or recorder_failed."""
    detail: str = ""


def started_at(name: str) -> float | None:
    """The time in a segment's name; None for another name."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    return float(calendar.timegm(time.strptime(match.group(1), "%Y%m%dT%H%M%SZ")))


def day(moment: float) -> str:
    """The UTC day of a time, as folders are named."""
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def segments(settings: Settings) -> Iterator[Segment]:
    """Every segment that was ever kept, in the order in which they were."""
    for one in files.lines(settings.state_folder / "segments.jsonl"):
        try:
            yield Segment(**one)
        except TypeError:
            continue


def gaps(settings: Settings) -> Iterator[Gap]:
    """Every gap, in the order in which they ended."""
    for one in files.lines(settings.state_folder / "gaps.jsonl"):
        try:
            yield Gap(**one)
        except TypeError:
            continue


def span(staged: Path, duration_s: float, end: float | None) -> tuple[float, float] | None:
    """Start and end of a closed file; None where it is empty or no segment. Raises OSError.

    `end` is when it was closed, where that is known: a name has whole seconds, and ffmpeg looks at a stream for a while
    before it opens the first file.
    """
    named = started_at(staged.name)
    if named is None or not staged.stat().st_size:
        return None
    start = named if end is None else end - duration_s
    return round(start, 3), round(start + duration_s, 3)


def keep(settings: Settings, staged: Path, duration_s: float, end: float | None = None) -> Segment | None:
    """Give a closed file its place and note it, as `span` has it; None where it is no segment. Raises OSError.

    It can be done again, wherever it was cut off: the file has both names until its line is written, which is when it
    is durable under its own.
    """
    try:
        times = span(staged, duration_s, end)
    except FileNotFoundError:
        return None
    if times is None:
        staged.unlink()
        return None
    files.sync(staged)
    folder = settings.folder / day(started_at(staged.name) or times[0])
    folder.mkdir(exist_ok=True)
    target, before = _placed(staged, folder / staged.name)
    files.sync(folder)
    files.sync(settings.folder)
    file, about = f"{folder.name}/{target.name}", target.stat()
    noted = segments(settings) if before else ()
    segment = next((one for one in noted if (one.file, one.inode) == (file, about.st_ino)), None)
    if segment is None:
        segment = Segment(file, *times, about.st_size, about.st_ino)
        files.append(settings.state_folder / "segments.jsonl", asdict(segment))
    # Last: what is still staged is taken in again after a kill.
    staged.unlink()
    return segment


def _placed(staged: Path, path: Path) -> tuple[Path, bool]:
    """The file's second name, and whether it had it before: a kill may have come then.

    It is the path, or one beside it: a clock that was set back gives a name a second time.
    """
    found, number, inode = path, 1, staged.stat().st_ino
    while True:
        try:
            os.link(staged, found)  # never over a file that is there
        except FileExistsError:
            if found.lstat().st_ino == inode:
                return found, True
        else:
            return found, False
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")


def note(settings: Settings, gap: Gap) -> None:
    """Write a gap down, where it is one; what was written and not known to be durable is not written twice."""
    if gap.end - gap.start >= LEAST_GAP_S and gap not in gaps(settings):
        files.append(settings.state_folder / "gaps.jsonl", asdict(gap))
