"""A run shown while it goes: one live table on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.live import Live
from rich.table import Table
from rich.text import Text

from shoal.cli.console import err, say
from shoal.results.record import HAS_MANIFEST
from shoal.run.detector_lines import Progress
from shoal.run.work import Event, Happening, Tell

PLAIN_INTERVAL_S = 5.0
"""Passing figures of one node are printed at most this often where there is no terminal."""


@dataclass(slots=True)
class _Line:
    state: str = "starting"
    progress: Progress = field(default_factory=Progress)
    printed_at: float = 0.0


@contextmanager
def shown() -> Iterator[Tell]:
    """Something to tell events to; on a terminal the table is there until the block is left."""
    nodes: dict[str, _Line] = {}
    if not sys.stderr.isatty():
        yield lambda event: _plain(nodes, event)
        return
    with Live(console=err, get_renderable=lambda: _table(nodes), refresh_per_second=4) as live:

        def tell(event: Event) -> None:
            _on_terminal(nodes, event, live)

        yield tell


def _take(nodes: dict[str, _Line], event: Event) -> tuple[_Line, bool]:
    """Bring a node's line up to date; the second value says whether the event is more than a passing figure."""
    line = nodes.setdefault(event.node, _Line())
    telling = True
    if event.kind is Happening.LINE:
        line.progress, telling = line.progress.after(event.text)
        line.state = "waiting" if line.progress.note.startswith("waiting") else "running"
    elif event.kind is Happening.ENDED and event.outcome:
        line.state = event.outcome.value
    elif event.kind is Happening.FETCHED:
        line.state = f"{line.state}, results home"
    return line, telling


def _plain(nodes: dict[str, _Line], event: Event) -> None:
    if not event.node:
        say(event.text)
        return
    line, telling = _take(nodes, event)
    now = time.monotonic()
    if telling or now - line.printed_at >= PLAIN_INTERVAL_S:
        line.printed_at = now
        say(_words(event))


def _on_terminal(nodes: dict[str, _Line], event: Event, live: Live) -> None:
    if not event.node:
        live.console.print(event.text, markup=False)
        return
    _, telling = _take(nodes, event)
    fault = event.kind is Happening.LINE and telling and "FAULT" in event.text
    if fault or (event.kind in (Happening.NOTE, Happening.ENDED) and event.text):
        live.console.print(_words(event), markup=False)


def _words(event: Event) -> str:
    text = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in event.text)
    if event.kind is Happening.ENDED and event.outcome:
        text = f"{event.outcome.value}{': ' if text else ''}{text}"
    elif event.kind is Happening.FETCHED:
        text = f"results home: {text}"
    return f"{event.node}: {text}"


def _table(nodes: dict[str, _Line]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "state", "video", "frames", "frames/s", "detections"):
        table.add_column(heading, justify="left" if heading in ("node", "state") else "right")
    for name, line in sorted(nodes.items()):
        seen = line.progress
        over = line.state not in ("starting", "running")
        good = any(line.state.startswith(outcome.value) for outcome in HAS_MANIFEST)
        frames = "" if over or not seen.frame else f"{seen.frame}/{seen.frames or '?'}"
        table.add_row(
            name,
            Text(line.state, style="" if not over else "green" if good else "red"),
            f"{seen.video}/{seen.videos}" if seen.videos else "",
            frames,
            "" if over or not seen.frames_per_s else f"{seen.frames_per_s:.1f}",
            str(seen.detections) if seen.videos else "",
        )
    return table
