"""The recorder of one camera: every second is in a segment or in a gap with its reason, whatever ends ffmpeg."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from recorder import files, keep, ledger, run
from recorder.ledger import Segment
from recorder.settings import Settings, SettingsError, credentials, parsed
from recorder.source import SourceError, input_of

REPOSITORY = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).with_name("fake_ffmpeg.py")


@dataclass
class Camera:
    """A camera with its folders, and its recorder as systemd starts it."""

    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def settings(self, **more: Any) -> Settings:
        program = self.folder / "ffmpeg"
        if not program.exists():
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
            program.chmod(0o755)
        footage = self.folder / "footage"
        footage.mkdir(exist_ok=True)
        given = {"source": "rtsp://10.0.0.9/north", "segment_s": 1, "disk_floor_bytes": 0, **more}
        return Settings(
            camera="north", footage=str(footage), state=str(self.folder / "state"), ffmpeg=str(program), **given
        )

    def start(self, *lives: list[list[Any]], secret: str | None = None) -> subprocess.Popen[str]:
        settings = self.settings()
        document = {"version": 1, **settings.__dict__}
        (self.folder / "north.json").write_text(json.dumps(document))
        (self.folder / "script.json").write_text(json.dumps(lives))
        environment = {**os.environ, "FAKE_FFMPEG": str(self.folder / "script.json"), "PYTHONPATH": str(REPOSITORY)}
        if secret is not None:
            (self.folder / "north.secret").write_text(secret + "\n")
        process = subprocess.Popen(
            [sys.executable, "-m", "recorder", str(self.folder / "north.json")],
            env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def until(self, holds: Callable[[], object], what: str) -> None:
        end = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < end, f"{what}: {self.segments()} {self.gaps()}"
            time.sleep(0.05)

    def segments(self) -> list[Segment]:
        return list(ledger.segments(self.settings()))

    def gaps(self) -> list[ledger.Gap]:
        return list(ledger.gaps(self.settings()))

    def film(self) -> list[str]:
        folder = self.settings().folder
        return sorted(str(path.relative_to(folder)) for path in folder.glob("2*/*"))


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Camera]:
    made = Camera(tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=30)
    assert process.returncode == 0
    return words


def test_film_with_events_stays_longer_and_goes_last(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = camera.folder / "watched"
    (watched / "north").mkdir(parents=True)
    event = {"start_utc": "2026-11-20T08:00:30.000Z", "end_utc": "2026-11-20T08:00:40.000Z"}
    lines = [json.dumps(event), '{"start_utc": null, "end_utc": null}', "cut o"]
    (watched / "north" / "told.jsonl").write_text("\n".join(lines))
    settings = camera.settings(keep_days=5, keep_days_with_events=30, watched=str(watched))
    folder = settings.folder / "2026-11-20"
    folder.mkdir(parents=True)
    settings.state_folder.mkdir(parents=True)
    first = ledger.started_at("20261120T080000Z.mp4") or 0.0
    for number in range(3):
        path = folder / f"20261120T080{number}00Z.mp4"
        path.write_bytes(b"film")
        start = first + 60 * number
        segment = Segment(f"2026-11-20/{path.name}", start, start + 60, 4, path.stat().st_ino)
        with (settings.state_folder / "segments.jsonl").open("a") as stream:
            stream.write(json.dumps(asdict(segment)) + "\n")
    # The disk is at its floor until one is gone: of what is as old, what shows nothing goes first.
    monkeypatch.setattr(keep, "free_bytes", lambda _: 0 if len(camera.film()) > 2 else 1)
    settings_at_floor = replace(settings, keep_days=300, disk_floor_bytes=1)
    assert [one.file for one in keep.tidy(settings_at_floor, first + 9 * 86_400, print)] == [
        "2026-11-20/20261120T080100Z.mp4"
    ]
    keep.tidy(settings, first + 9 * 86_400, print)
    assert camera.film() == ["2026-11-20/20261120T080000Z.mp4"]
    keep.tidy(settings, first + 31 * 86_400, print)
    assert camera.film() == []


def test_closed_segments_get_their_place_and_their_line(camera: Camera) -> None:
    process = camera.start([["segment", 1.0], ["wait", 1.1], ["segment", 1.0], ["record"]])
    camera.until(lambda: len(camera.segments()) == 2, "two segments")
    stop(process)
    first, second = camera.segments()
    assert camera.film() == [first.file, second.file]
    assert first.file.startswith(ledger.day(first.start) + "/")
    assert first.end - first.start == pytest.approx(1.0)
    assert camera.gaps() == []
    assert list((camera.settings().folder / ledger.STAGING).iterdir()) == []


@pytest.mark.parametrize("code", [0, 1])
def test_any_end_of_ffmpeg_means_that_the_camera_is_lost(camera: Camera, code: int) -> None:
    lost = [["segment", 1.0], ["word", "Connection timed out"], ["exit", code]]
    process = camera.start(lost, [["wait", 3.0], ["segment", 1.0], ["record"]])
    camera.until(lambda: len(camera.segments()) == 2, "the camera is back")
    stop(process)
    first, second = camera.segments()
    (gap,) = camera.gaps()
    assert (gap.start, gap.end) == (first.end, second.start)
    assert (gap.reason, gap.detail) == ("camera_lost", "Connection timed out")


def test_a_camera_that_refuses_is_told_from_one_that_is_away(camera: Camera) -> None:
    refused = [["word", "Server returned 401 Unauthorized (authorization failed)"], ["exit", 1]]
    process = camera.start([["segment", 1.0], ["exit", 0]], refused, [["wait", 2.5], ["segment", 1.0], ["record"]])
    camera.until(lambda: len(camera.segments()) == 2, "the camera is back")
    stop(process)
    assert [gap.reason for gap in camera.gaps()] == ["camera_refused"]


def test_a_segment_that_nobody_closed_is_kept(camera: Camera) -> None:
    process = camera.start([["segment", 1.0], ["wait", 1.1], ["open"], ["wait", 1.5], ["exit", 137]], [["record"]])
    camera.until(lambda: len(camera.segments()) == 2, "the open one is kept")
    stop(process)
    assert len(camera.film()) == 2


@pytest.mark.parametrize("rebooted", [False, True])
def test_what_a_kill_left_is_taken_over_and_the_time_between_is_a_gap(camera: Camera, rebooted: bool) -> None:
    process = camera.start([["segment", 1.0], ["wait", 1.1], ["open"], ["record"]])
    camera.until(lambda: len(camera.segments()) == 1 and len(list(_staged(camera))) == 1, "one is open")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if rebooted:
        remembered = camera.settings().state_folder / "now.json"
        remembered.write_text(json.dumps({"boot": "another"}))
    time.sleep(2.5)  # the time that is missing
    process = camera.start([["wait", 1.1], ["segment", 1.0], ["record"]])
    camera.until(lambda: len(camera.segments()) == 3, "it goes on")
    assert "left by a recorder that was killed" in stop(process)
    _, left, after = camera.segments()
    (gap,) = camera.gaps()
    assert (gap.start, gap.end) == (left.end, after.start)
    assert gap.reason == ("node_down" if rebooted else "killed")


@pytest.mark.parametrize("noted", [False, True])
def test_a_gap_that_film_had_ended_before_the_kill_is_noted_once_and_the_kill_is_a_gap_of_its_own(
    camera: Camera, noted: bool
) -> None:
    """The camera was lost, came back, and then the recorder was killed with its first file in hand."""
    settings = camera.settings()
    began = 1_796_052_913.0  # the file's name, in whole seconds
    staged = settings.folder / ledger.STAGING / time.strftime(ledger.PATTERN, time.gmtime(began))
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"film")
    os.utime(staged, (began + 30, began + 30))
    settings.state_folder.mkdir(parents=True)
    lost = {"boot": run._boot(), "start": began - 6.8, "reason": "camera_lost", "detail": "the stream ended"}
    files.write(settings.state_folder / "now.json", lost)
    if noted:  # the kill came after the line, and before it was no longer remembered
        ledger.note(settings, ledger.Gap(began - 6.8, began, "camera_lost", "the stream ended"))
    recorder = run.Recorder(settings, input_of(settings.source, 3, None), lambda _: None)
    gap = recorder._before()
    assert [(one.reason, round(one.end - one.start, 1)) for one in camera.gaps()] == [("camera_lost", 6.8)]
    assert gap is not None
    assert (gap.reason, gap.start) == ("killed", began + 30)


def test_a_pause_on_purpose_is_a_gap_too(camera: Camera) -> None:
    process = camera.start([["segment", 1.0], ["record"]])
    camera.until(camera.segments, "one segment")
    stop(process)
    time.sleep(2.5)  # the time that is missing
    process = camera.start([["wait", 1.1], ["segment", 1.0], ["record"]])
    camera.until(lambda: len(camera.segments()) == 2, "it goes on")
    stop(process)
    assert [gap.reason for gap in camera.gaps()] == ["stopped"]


def test_a_stream_that_closes_no_segment_is_ended(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    from recorder import run

    monkeypatch.setattr(run, "LEAVE_S", 0.2)
    monkeypatch.setattr(run, "LOOK_S", 0.05)
    settings = camera.settings(segment_s=-14)  # two segments and 30 s: a limit of 2 s
    monkeypatch.setenv("FAKE_FFMPEG", str(camera.folder / "script.json"))
    (camera.folder / "script.json").write_text(json.dumps([[["hang"]]]))
    said: list[str] = []
    recorder = run.Recorder(settings, input_of(settings.source, 10, None), said.append)

    def log(text: str) -> None:
        said.append(text)
        recorder.stop()

    recorder.log = log
    recorder.run()
    assert said == ["no_segment: no segment was closed for 2 s; again in 1 s"]


def _staged(camera: Camera) -> Iterator[Path]:
    return (camera.settings().folder / ledger.STAGING).iterdir()


def test_a_name_that_comes_twice_overwrites_nothing(camera: Camera) -> None:
    settings = camera.settings()
    settings.state_folder.mkdir(parents=True)
    staging = settings.folder / ledger.STAGING
    staging.mkdir(parents=True)
    for content in (b"first", b"second"):
        (staging / "20261130T081500Z.mp4").write_bytes(content)
        ledger.keep(settings, staging / "20261130T081500Z.mp4", 1.0)
    assert [(settings.folder / name).read_bytes() for name in camera.film()] == [b"second", b"first"]
    assert camera.film() == ["2026-11-30/20261130T081500Z-2.mp4", "2026-11-30/20261130T081500Z.mp4"]


class Killed(Exception):  # noqa: N818 - an outcome
    """The process is gone."""


def test_a_kill_at_any_moment_of_keeping_a_file_loses_none_and_keeps_none_twice(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What touches the disk is counted, and before the first, the second, ... of it the recorder is killed."""
    settings = camera.settings()
    settings.state_folder.mkdir(parents=True)
    staging = settings.folder / ledger.STAGING
    staging.mkdir(parents=True)
    left = 0

    def counting(module: Any, name: str) -> None:
        real = getattr(module, name)

        def counted(*given: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return real(*given, **more)

        monkeypatch.setattr(module, name, counted)

    for name in ("fsync", "link", "unlink"):
        counting(os, name)
    for number in range(1, 20):
        staged = staging / f"20261130T08{number:02}00Z.mp4"
        staged.write_bytes(b"film")
        left = number
        try:
            ledger.keep(settings, staged, 60.0)
        except Killed:
            left = 0
            run.Recorder(settings, input_of(settings.source, 3, None), lambda _: None)._before()
        else:
            break
    assert number > 5
    assert camera.film() == [f"2026-11-30/20261130T08{one:02}00Z.mp4" for one in range(1, number + 1)]
    assert [one.file for one in camera.segments()] == camera.film()
    assert list(staging.iterdir()) == []


# --- passwords


def test_a_password_is_in_no_argument_and_in_no_line(camera: Camera) -> None:
    secret = "viewer:p@ss'w/rd"
    process = camera.start(
        [["word", "cannot open rtsp://viewer:p%40ss%27w%2Frd@10.0.0.9/north"], ["exit", 1]], secret=secret
    )
    camera.until((camera.folder / "script.argv").exists, "ffmpeg was started")
    time.sleep(0.5)
    words = stop(process)
    arguments, given = json.loads((camera.folder / "script.argv").read_text())
    assert "p@ss" not in str(arguments) + words
    assert "p%40ss" not in str(arguments) + words
    assert "file 'rtsp://viewer:p%40ss%27w%2Frd@10.0.0.9/north'" in given


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://user:word@host/a",
        "ftp://host/a",
        "file:///etc/passwd",
        "/etc/passwd",
        "rtsp:///a",
        "rtsp://h/a'\nfile 'x",
    ],
)
def test_sources_that_are_refused(source: str) -> None:
    with pytest.raises(SourceError):
        input_of(source, 10, None)


def test_credentials_are_one_line(tmp_path: Path) -> None:
    settings, secret = tmp_path / "north.json", tmp_path / "north.secret"
    assert credentials(settings) is None
    secret.write_text("")
    assert credentials(settings) is None
    secret.write_text("viewer:word\n")
    assert credentials(settings) == "viewer:word"
    secret.write_text("no colon\n")
    with pytest.raises(SettingsError) as caught:
        credentials(settings)
    assert "no colon" not in str(caught.value)


@pytest.mark.parametrize(
    "more", [{"camera": "../etc"}, {"segment_s": 0}, {"keep_days": True}, {"colour": 1}, {"version": 2}]
)
def test_settings_that_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        parsed({"version": 1, "camera": "north", "source": "rtsp://h/a", **more}, "north.json")


# --- what goes


def _made(settings: Settings, *days_ago: float, now: float) -> list[Segment]:
    settings.state_folder.mkdir(parents=True, exist_ok=True)
    staging = settings.folder / ledger.STAGING
    staging.mkdir(parents=True, exist_ok=True)
    made = []
    for days in days_ago:
        name = time.strftime(ledger.PATTERN, time.gmtime(now - days * keep.DAY_S))
        (staging / name).write_bytes(b"film" * 100)
        segment = ledger.keep(settings, staging / name, 60.0)
        assert segment is not None
        made.append(segment)
    return made


def test_segments_past_their_days_go_and_their_folders(camera: Camera) -> None:
    now = time.time()
    settings = camera.settings(keep_days=2)
    old, young = _made(settings, 3.0, 1.0, now=now)
    assert keep.tidy(settings, now, print) == [old]
    assert camera.film() == [young.file]
    assert not (settings.folder / old.file).parent.exists()
    assert camera.segments() == [young]
    assert "its days are over" in (settings.state_folder / "removed.jsonl").read_text()


def test_at_the_disks_floor_the_oldest_goes_and_never_todays(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    settings = camera.settings(keep_days=30, disk_floor_bytes=1000)
    oldest, middle, todays = _made(settings, 5.0, 3.0, 0.0, now=now)
    free = iter([0, 0, 2000, 2000])
    monkeypatch.setattr(keep, "free_bytes", lambda folder: next(free))
    said: list[str] = []
    assert keep.tidy(settings, now, said.append) == [oldest]
    assert "before its time" in said[0]
    monkeypatch.setattr(keep, "free_bytes", lambda folder: 0)
    assert keep.tidy(settings, now, said.append) == [middle]
    assert camera.film() == [todays.file]


def test_what_is_not_ours_is_left(camera: Camera) -> None:
    now = time.time()
    settings = camera.settings(keep_days=1)
    (segment,) = _made(settings, 3.0, now=now)
    path = settings.folder / segment.file
    path.unlink()
    path.write_bytes(b"somebody's")
    (settings.folder / "2020-01-01").mkdir()
    (settings.folder / "2020-01-01/20200101T000000Z.mp4").write_bytes(b"also somebody's")
    assert keep.tidy(settings, now, print) == []
    assert len(camera.film()) == 2
