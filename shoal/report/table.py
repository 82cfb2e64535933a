"""The report on a terminal: a table where there is room, indented lines where there is not, plain text in a pipe."""

from __future__ import annotations

import itertools
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from shoal.report import formats as words
from shoal.report.model import Node, Run, State, Totals, Verification, Video
from shoal.terminal import PlainConsole, printable

NARROW_COLUMNS = 92
"""Below this width the table's columns would break words; lines are used in their place."""
PIPE_COLUMNS = 200
"""A pipe has no width; wide enough that ordinary rows are not broken."""
TOP_CLASSES = 3
STATE_STYLES = {State.COMPLETE: "green", State.FAULTY_VIDEOS: "yellow", State.INCOMPLETE: "red"}


def show(run: Run, page: Path | None, console: Console) -> None:
    """Print `run` and the path of its page. Names are printed as text, never as markup or control sequences."""
    if not console.is_terminal:
        # Colours and boxes are for eyes; a fixed width keeps rows whole in a log.
        console = PlainConsole(
            file=console.file, width=PIPE_COLUMNS, color_system=None, force_terminal=False, highlight=False
        )
    _line(console, Text(run.state_text, style=f"bold {STATE_STYLES[run.state]}"))
    for problem in run.problems:
        _line(console, Text(problem), indent=2)
    _line(console, Text(run.headline, style="bold"))
    if run.nodes:
        if console.width < NARROW_COLUMNS:
            _lines(run, console)
        else:
            console.print(_table(run, console.is_terminal), soft_wrap=False)
    for text in _sums(run):
        _line(console, Text(text))
    for notice in run.notices:
        _line(console, Text(f"note: {notice}"))
    if page is not None:
        # Not wrapped: a path broken in two cannot be clicked or copied.
        console.print(Text(f"report: {printable(str(page))}"), soft_wrap=True)


def _table(run: Run, decorated: bool) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD if decorated else None,
        pad_edge=False,
        padding=(0, 1) if decorated else (0, 2, 0, 0),
        header_style="bold" if decorated else "",
    )
    table.add_column("node, video", overflow="fold", ratio=None)
    for heading in ("frames", "frames/s", "detections"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("top classes (detections)", overflow="fold")
    table.add_column("outcome, faults", overflow="fold")
    for node in run.nodes:
        table.add_row(*_cells(node.name, node.totals, _node_state(node)), style="bold" if decorated else "")
        for video in node.videos:
            table.add_row(
                Text(f"  {printable(video.video)}"),
                words.number(video.frames),
                _rate(video.frames_per_s),
                words.number(video.detections),
                _classes(video.counts),
                Text(_video_state(video, node)),
            )
    table.add_section()
    table.add_row(*_cells("total", run.totals, f"{run.nodes_done} of {words.count(run.nodes_expected, 'node')} done"))
    return table


def _cells(name: str, sums: Totals, state: str) -> tuple[Text | str, ...]:
    return (
        Text(printable(name)),
        words.number(sums.frames),
        _rate(sums.frames_per_work_s),
        words.number(sums.detections),
        _classes(sums.counts),
        Text(state),
    )


def _lines(run: Run, console: Console) -> None:
    for node in run.nodes:
        _line(console, Text(f"{printable(node.name)}: {_node_state(node)}", style="bold"))
        for video in node.videos:
            _line(console, Text(printable(video.video)), indent=2)
            facts = [
                words.count(video.frames, "frame"),
                words.rate(video.frames_per_s) if video.frames_per_s is not None else "rate unknown",
                words.count(video.detections, "detection"),
                _classes(video.counts).plain,
                _video_state(video, node),
            ]
            _line(console, Text(", ".join(filter(None, facts))), indent=4)


def _sums(run: Run) -> list[str]:
    sums = run.totals
    pace = f" ({words.rate(run.frames_per_wall_s)})" if run.frames_per_wall_s is not None else ""
    return [
        f"{words.count(sums.frames, 'frame')}, {words.duration(sums.footage_s)} of footage, "
        f"wall time {words.duration(run.wall_time_s)}{pace}",
        f"{words.size(sums.video_bytes)} of video stayed on the nodes, {words.size(run.home_bytes)} came home"
        + ("" if run.shipped_bytes is None else f", {words.size(run.shipped_bytes)} shipped to the store"),
        f"cost: {run.cost_text}",
        *(line for line in run.cost_lines if not line.startswith("cost: ")),
    ]


def _node_state(node: Node) -> str:
    parts = [node.outcome_text]
    if node.verification is Verification.ABSENT:
        parts.append("no results at home")
    elif node.verification is Verification.NOT_VERIFIED:
        parts.append("not verified")
    if not node.videos:
        parts.append("zero videos")
    if len(node.attempts) > 1:
        parts.append(words.count(len(node.attempts), "attempt"))
    return ", ".join(dict.fromkeys(parts))


def _video_state(video: Video, node: Node) -> str:
    parts = []
    if video.fault:
        parts.append(f"FAULT {printable(video.fault.kind)}")
    if video.still_photo:
        parts.append("still photo")
    if video.decode_errors:
        parts.append(words.count(video.decode_errors, "decoding error"))
    if video.missing_frames and not (video.fault and video.fault.kind == "frames_missing"):
        parts.append(words.count(video.missing_frames, "missing frame"))
    if not video.verified and node.verification is Verification.VERIFIED:
        parts.append("not verified")
    return ", ".join(parts)


def _classes(counts: dict[str, int]) -> Text:
    shown = [f"{printable(name)} {found:,}" for name, found in itertools.islice(counts.items(), TOP_CLASSES)]
    if len(counts) > TOP_CLASSES:
        shown.append(f"{len(counts) - TOP_CLASSES} more")
    return Text(", ".join(shown))


def _rate(frames_per_s: float | None) -> str:
    return words.UNKNOWN if frames_per_s is None else words.number(float(frames_per_s))


def _line(console: Console, text: Text, *, indent: int = 0) -> None:
    console.print(Padding(text, (0, 0, 0, indent), expand=False), soft_wrap=False)
