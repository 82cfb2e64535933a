"""Decides which of our segments go: those past their days, and before the disk is full the oldest, those without events
first, never today's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from recorder import disks, files, ledger
from recorder.ledger import Segment
from recorder.settings import Settings

DAY_S = 86_400
NOTES_DAYS = 30
"""Notes of gaps and of what was removed stay so much longer than film does."""


def tidy(settings: Settings, now: float, log: Callable[[str], None], *, by_days: bool = True) -> list[Segment]:
    """Remove what has to go and note why; what is not ours any more is left. Returns what was removed.

    Without `by_days` nothing goes for its age: the clock that says it may be wrong. Raises OSError.
    """
    there = [segment for segment in ledger.segments(settings) if _ours(settings, segment)]
    spans = sorted(_events(settings))
    kept_longer = max(settings.keep_days, settings.keep_days_with_events or 0)

    def eventful(segment: Segment) -> bool:
        return any(start <= segment.end and end >= segment.start for start, end in spans)

    removed: list[Segment] = []
    for segment in there:
        days = kept_longer if eventful(segment) else settings.keep_days
        if by_days and segment.end < now - days * DAY_S:
            _remove(settings, segment, "its days are over")
            removed.append(segment)
    # Asked one by one: mostly there is room, and then of the first alone.
    without, with_events = (one for one in there if not eventful(one)), (one for one in there if eventful(one))
    for segment in chain(without, with_events):
        if free_bytes(settings.folder) >= settings.disk_floor_bytes:
            break
        if segment in removed or ledger.day(segment.start) == ledger.day(now):
            continue
        _remove(settings, segment, "the disk is at its floor")
        log(f"{segment.file}: removed before its time, {free_bytes(settings.folder) >> 20} MiB are free")
        removed.append(segment)
    if removed:
        _forget(settings, {segment.file for segment in removed})
        for folder in sorted({(settings.folder / segment.file).parent for segment in removed}):
            if not any(folder.iterdir()):
                folder.rmdir()
    if by_days:
        for name in ("gaps.jsonl", "removed.jsonl"):
            _shorten(settings.state_folder / name, now - (kept_longer + NOTES_DAYS) * DAY_S)
    return removed


def _shorten(path: Path, since: float) -> None:
    """Let go of lines about a time before `since`, a day's at once: notes would grow for ever."""
    first = next(files.lines(path), None)
    if first is not None and _end(first) < since - DAY_S:
        files.write_lines(path, [line for line in files.lines(path) if _end(line) >= since])


def _end(line: dict[str, Any]) -> float:
    end = line.get("end")
    return float(end) if isinstance(end, int | float) else 0.0


def _events(settings: Settings) -> Iterator[tuple[float, float]]:
    """When the watch found events of the camera; what it notes is another program's word."""
    for line in files.lines(Path(settings.watched) / settings.camera / "told.jsonl"):
        try:
            start, end = (
                datetime.fromisoformat(line[name].replace("Z", "+00:00")) for name in ("start_utc", "end_utc")
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
        yield start.timestamp(), end.timestamp()


def free_bytes(folder: Path) -> int:
    """What may still be written there."""
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize


def _ours(settings: Settings, segment: Segment) -> bool:
    try:
        about = (settings.folder / segment.file).lstat()
    except FileNotFoundError:
        return False
    return (about.st_ino, about.st_size) == (segment.inode, segment.size_bytes)


def _remove(settings: Settings, segment: Segment, why: str) -> None:
    note, path = {**asdict(segment), "why": why}, settings.folder / segment.file
    try:
        files.append(settings.state_folder / "removed.jsonl", note)
    except OSError as error:
        if disks.reason_of(error) != disks.FULL:
            raise
        path.unlink()  # a full disk takes the note when the film is gone
        files.append(settings.state_folder / "removed.jsonl", note)
    else:
        path.unlink()


def _forget(settings: Settings, gone: set[str]) -> None:
    """The ledger without what was removed, or it would grow for ever; `removed.jsonl` has it."""
    left = (asdict(segment) for segment in ledger.segments(settings) if segment.file not in gone)
    files.write_lines(settings.state_folder / "segments.jsonl", left)
