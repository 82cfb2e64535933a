"""A run shown: bars and the straggler on a terminal, plain lines in a log, nothing that steers either."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from shoal.cli import run_display
from shoal.results.record import Outcome
from shoal.run import detector_lines
from shoal.run.work import Event, Happening


class Clock:
    """A monotonic clock that stands until it is put forward."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(run_display.time, "monotonic", found)
    return found


def line(node: str, event: str, **fields: Any) -> Event:
    read = detector_lines.read(json.dumps({"shoal_detect": 1, "event": event, **fields}))
    return Event(Happening.LINE, read.text, node, line=read)


def begun(node: str, videos: int) -> Event:
    sizes = {"size_bytes": 100 * videos, "done_size_bytes": 0}
    return line(node, "run", run="r1", videos=videos, videos_done=0, **sizes)


def frames(node: str, number: int, videos: int, frame: int = 5) -> Event:
    video = {"number": number, "videos": videos, "video": f"{number}.mp4", "size_bytes": 100}
    return line(node, "frames", **video, frame=frame, frames=10, frames_per_s=2.5, detections=3)


def ended(node: str, number: int, videos: int) -> Event:
    video = {"number": number, "videos": videos, "video": f"{number}.mp4", "size_bytes": 100}
    return line(node, "video_done", **video, frames=10, detections=7, decode_errors=0)


def screen(rows: dict[str, Any], columns: int = 120) -> list[str]:
    console = Console(file=io.StringIO(), width=columns, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(run_display.table(rows, columns))
    return [text.rstrip() for text in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_each_node_has_a_bar_its_videos_and_the_time_left(clock: Clock) -> None:
    rows: dict[str, Any] = {}

    def take(event: Event) -> None:
        run_display._take(rows, event, clock.now_s)

    for event in (begun("gate-1", 4), begun("gate-2", 22)):
        take(event)
    clock.now_s += 30
    for event in (ended("gate-1", 1, 4), ended("gate-1", 2, 4), ended("gate-1", 3, 4), ended("gate-2", 1, 22)):
        take(event)
    take(frames("gate-2", 2, 22))
    head, first, second = screen(rows)
    assert head.split() == ["node", "state", "footage", "videos", "left", "frames", "frames/s", "detections"]
    assert "━" * 15 in first
    assert "3/4" in first
    assert "10 s" in first
    assert "straggler" not in first
    assert "running, the straggler" in second
    assert "1/22" in second
    assert "7 min" in second  # 30 s for 1.5 of 22
    assert "5/10" in second
    take(Event(Happening.ENDED, "", "gate-1", Outcome.FINISHED))
    take(Event(Happening.FETCHED, "4 files", "gate-1"))
    assert "finished, results home" in screen(rows)[1]
    clock.now_s += 45
    assert "running, silent for 45 s" in screen(rows)[2]


@pytest.mark.parametrize("columns", [60, 80, 99])
def test_a_narrow_terminal_keeps_what_says_most(clock: Clock, columns: int) -> None:
    rows: dict[str, Any] = {}
    run_display._take(rows, begun("gate-1", 4), clock.now_s)
    run_display._take(rows, frames("gate-1", 1, 4), clock.now_s)
    head, row = screen(rows, columns)
    assert head.split() == ["node", "state", "footage", "videos", "left"]
    assert "0/4" in row
    assert max(map(len, (head, row))) <= columns


def test_a_log_has_plain_lines_and_passing_figures_now_and_then(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_display.shown() as tell:
        tell(Event(Happening.NOTE, "run r1 on 2 nodes"))
        tell(begun("gate-1", 4))
        tell(begun("gate-2", 22))
        for _ in range(12):
            clock.now_s += 1
            tell(frames("gate-1", 1, 4))
        clock.now_s += 18
        for number in (1, 2, 3):
            tell(ended("gate-1", number, 4))
        tell(ended("gate-2", 1, 22))
        tell(frames("gate-2", 2, 22))
        tell(Event(Happening.ENDED, "", "gate-1", Outcome.FINISHED))
    said = capsys.readouterr().err.splitlines()
    assert said[:3] == [
        "run r1 on 2 nodes",
        "gate-1: run r1: 4 videos, 0 done already",
        "gate-2: run r1: 22 videos, 0 done already",
    ]
    passing = [text for text in said if "gate-1" in text and "frames/s" in text]
    assert len(passing) == 3
    assert passing[0] == 'gate-1: video 1/4 "1.mp4" 5/10 frames 2.5 frames/s 3 detections; 12 % of its footage'
    last = next(text for text in said if text.startswith("gate-2: video 2/22"))
    assert last.endswith("; 7 % of its footage, 7 min left, the straggler")
    assert said[-1] == "gate-1: finished"
    assert all(text.isprintable() for text in said)


def test_no_words_of_a_node_steer_the_terminal_however_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "x\x1b[2J\x9b31m\u202e[red]y"
    with run_display.shown() as tell:
        tell(Event(Happening.LINE, detector_lines.read(bad).text, "gate-1", line=detector_lines.read(bad)))
        tell(Event(Happening.NOTE, bad, "gate-1"))
        tell(Event(Happening.ENDED, bad, "gate-1", Outcome.FAILED))
    said = capsys.readouterr().err
    assert said.replace("\n", "").isprintable()
    assert said.count("[red]y") == 3
