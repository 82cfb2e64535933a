"""A run shown while it goes: one live table with a bar per node on a terminal, plain lines in a log; then its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import typer
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shoal.cli.console import err, print_json, say
from shoal.errors import Exit
from shoal.results import record as runs
from shoal.results.record import HAS_MANIFEST, RunRecord
from shoal.run.carry_out import exit_code
from shoal.run.detector_lines import VideoFaultEvent, shown_whole
from shoal.run.pace import Pace, in_words, straggler
from shoal.run.work import Event, Happening, Tell

PLAIN_INTERVAL_S = 5.0
"""Passing figures of one node are printed at most this often where there is no terminal."""
BAR_COLUMNS = 20
COMFORTABLE_COLUMNS = 100
"""On a narrower terminal the columns that say least are left out."""


@dataclass(slots=True)
class _Row:
    """One node."""

    state: str = "starting"
    pace: Pace = field(default_factory=Pace)
    printed_s: float = 0.0


@contextmanager
def shown() -> Iterator[Tell]:
    """Something that takes events; on a terminal the table is there until the block is left."""
    rows: dict[str, _Row] = {}
    if not sys.stderr.isatty():
        yield lambda event: _plain(rows, event)
        return
    with Live(console=err, get_renderable=lambda: table(rows, err.width), refresh_per_second=4) as live:

        def tell(event: Event) -> None:
            _on_terminal(rows, event, live)

        yield tell


def conclude(record: RunRecord, *, fetch: bool, json: bool) -> None:
    """Show the end of a run; raises typer.Exit with the exit code that says how whole it is."""
    show_end(record, fetch=fetch)
    if json:
        print_json(record.model_dump(mode="json"))
    code = exit_code(record, fetch=fetch)
    if code is not Exit.OK:
        raise typer.Exit(code)


def show_end(record: RunRecord, *, fetch: bool = True) -> None:
    """What became of every node, and what to do about those that are not done; on stderr."""
    for name, node in record.nodes.items():
        why = node.attempts[-1].message if node.attempts else ""
        home = ", results not home" if fetch and not node.fetched and node.outcome in HAS_MANIFEST else ""
        say(f"  {name}: {node.outcome.value}{home}{': ' if why else ''}{shown_whole(why)}")
    if exit_code(record, fetch=fetch) is Exit.OK:
        where = str(runs.run_dir(record.run)) if fetch else f"on the nodes; `shoal results fetch {record.run}`"
        say(f"run {record.run} is whole: {where}")
    elif record.missing or (fetch and not all(node.fetched for node in record.nodes.values())):
        say(f"run {record.run} is not whole; finish it with `shoal resume {record.run}`")
    else:
        say(f"run {record.run} is done; videos that are faulty are named above and in its report")


def _take(rows: dict[str, _Row], event: Event, now_s: float) -> tuple[_Row, bool]:
    """Bring a node's row up to date; the second value says whether the event is more than a passing figure."""
    row = rows.setdefault(event.node, _Row())
    telling = True
    if event.kind is Happening.LINE and event.line:
        telling = row.pace.take(event.line, now_s)
        row.state = "waiting" if row.pace.progress.waiting else "running"
    elif event.kind is Happening.ENDED and event.outcome:
        row.state, row.pace.over = event.outcome.value, True
    elif event.kind is Happening.FETCHED:
        row.state = f"{row.state}, results home"
    return row, telling


def _plain(rows: dict[str, _Row], event: Event) -> None:
    if not event.node:
        say(event.text)
        return
    now_s = time.monotonic()
    row, telling = _take(rows, event, now_s)
    if telling:
        say(_words(event))
    elif now_s - row.printed_s >= PLAIN_INTERVAL_S:
        row.printed_s = now_s
        say(_words(event) + _how_far(rows, event.node, now_s))


def _how_far(rows: dict[str, _Row], node: str, now_s: float) -> str:
    """`; 41 % of its footage, 12 min left, the straggler`, as far as it can be said."""
    pace = rows[node].pace
    if pace.progress.share is None:
        return ""
    words = [f"{pace.progress.share:.0%} of its footage".replace("%", " %")]
    if (left_s := pace.left_s(now_s)) is not None:
        words.append(f"{in_words(left_s)} left")
    if straggler({name: row.pace for name, row in rows.items()}, now_s) == node:
        words.append("the straggler")
    return "; " + ", ".join(words)


def _on_terminal(rows: dict[str, _Row], event: Event, live: Live) -> None:
    if not event.node:
        live.console.print(event.text, markup=False)
        return
    _take(rows, event, time.monotonic())
    fault = event.line is not None and isinstance(event.line.event, VideoFaultEvent)
    foreign = event.line is not None and event.line.event is None
    if fault or foreign or (event.kind in (Happening.NOTE, Happening.ENDED) and event.text):
        live.console.print(_words(event), markup=False)


def _words(event: Event) -> str:
    text = shown_whole(event.text)
    if event.kind is Happening.ENDED and event.outcome:
        text = f"{event.outcome.value}{': ' if text else ''}{text}"
    elif event.kind is Happening.FETCHED:
        text = f"results home: {text}"
    return f"{event.node}: {text}"


def table(rows: dict[str, _Row], columns: int) -> Table:
    """One row per node: state, bar, videos done of all, time left; and figures where there is room for them."""
    now_s = time.monotonic()
    last = straggler({name: row.pace for name, row in rows.items()}, now_s)
    wide = columns >= COMFORTABLE_COLUMNS
    found = Table(box=None, pad_edge=False)
    for heading in ("node", "state", "footage"):
        found.add_column(heading, no_wrap=True)
    for heading in ("videos", "left", *(("frames", "frames/s", "detections") if wide else ())):
        found.add_column(heading, justify="right", no_wrap=True)
    for name, row in sorted(rows.items()):
        seen = row.pace.progress
        left_s = row.pace.left_s(now_s)
        share = seen.share
        figures = (
            "" if row.pace.over or not seen.frame else f"{seen.frame}/{seen.frames or '?'}",
            "" if row.pace.over or not seen.frames_per_s else f"{seen.frames_per_s:.1f}",
            str(seen.detections) if seen.videos else "",
        )
        found.add_row(
            name,
            _state(row, now_s, straggles=name == last),
            "" if share is None else ProgressBar(total=1.0, completed=share, width=BAR_COLUMNS),
            f"{seen.videos_done}/{seen.videos}" if seen.videos else "",
            "" if left_s is None else in_words(left_s),
            *(figures if wide else ()),
        )
    return found


def _state(row: _Row, now_s: float, *, straggles: bool) -> Text:
    silent_s = row.pace.silent_s(now_s)
    if silent_s is not None:
        return Text(f"{row.state}, silent for {in_words(silent_s)}", style="yellow")
    if straggles:
        return Text(f"{row.state}, the straggler", style="yellow")
    if not row.pace.over:
        return Text(row.state)
    good = any(row.state.startswith(outcome.value) for outcome in HAS_MANIFEST)
    return Text(row.state, style="green" if good else "red")
