"""The recorder of one camera: every second is in a segment or in a gap with its reason, whatever ends ffmpeg."""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from recorder import clock, disks, files, fragments, keep, ledger, open_gap, run
from recorder.ledger import Segment
from recorder.settings import Settings, SettingsError, credentials, parsed
from recorder.source import SourceError, input_of
from tests.recorder.fake_ffmpeg import box

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
    staged.write_bytes(box(b"moof") + box(b"mdat"))
    os.utime(staged, (began + 30, began + 30))
    settings.state_folder.mkdir(parents=True)
    lost = {"boot": clock.boot(), "start": began - 6.8, "reason": "camera_lost", "detail": "the stream ended"}
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


@contextmanager
def recording(
    camera: Camera, monkeypatch: pytest.MonkeyPatch, *lives: list[list[Any]], **more: Any
) -> Iterator[list[str]]:
    """Its recorder in this process, for what a test stands in for; what it logs."""
    script = camera.folder / "script.json"
    script.write_text(json.dumps(lives))
    monkeypatch.setenv("FAKE_FFMPEG", str(script))
    monkeypatch.setattr(run, "LOOK_S", 0.05)
    monkeypatch.setattr(run, "FIRST_PAUSE_S", 0.2)
    monkeypatch.setattr(run, "LONGEST_PAUSE_S", 0.2)
    settings = camera.settings(**more)
    said: list[str] = []
    recorder = run.Recorder(settings, input_of(settings.source, 10, None), said.append)
    thread = threading.Thread(target=recorder.run)
    thread.start()
    try:
        yield said
    finally:
        recorder.stop()
        thread.join(30)
        assert not thread.is_alive()


def remembered(camera: Camera) -> dict[str, Any]:
    return files.read(camera.settings().state_folder / "now.json")


def refusing(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "reason", "words"),
    [
        (errno.ENOSPC, "disk_full", "make room on it"),
        (errno.EROFS, "disk_read_only", "mount it for writing"),
    ],
)
def test_a_disk_that_takes_no_film_is_named_and_film_goes_on_when_it_does(
    camera: Camera, monkeypatch: pytest.MonkeyPatch, number: int, reason: str, words: str
) -> None:
    full = threading.Event()

    def try_to_write(folder: Path) -> None:
        if full.is_set() and folder.name == ledger.STAGING:
            raise refusing(number)

    monkeypatch.setattr(disks, "try_to_write", try_to_write)
    life = [["segment", 1.0], ["wait", 1.1], ["segment", 1.0], ["exit", 0]]
    with recording(camera, monkeypatch, life, [["segment", 1.0], ["record"]]) as said:
        camera.until(camera.segments, "one segment")
        full.set()
        camera.until(lambda: remembered(camera).get("reason") == reason, "the disk is named")
        assert words in remembered(camera)["detail"]
        lives = (camera.folder / "script.json").read_text()
        camera.until(lambda: len([line for line in said if line.startswith(reason)]) > 2, "it tries again")
        assert (camera.folder / "script.json").read_text() == lives  # no camera is asked for what no disk takes
        camera.until(lambda: time.time() - camera.segments()[-1].end > 4.5, "film is missing")
        full.clear()
        camera.until(lambda: len(camera.segments()) == 3, "it records again")
        camera.until(lambda: "reason" not in remembered(camera), "nothing is wrong")
    assert [gap.reason for gap in camera.gaps()] == [reason]


def test_a_file_that_cannot_get_its_place_keeps_no_word_back(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of film is read-only, and that of the notes is not: the status has to say why there is no film."""
    read_only, keep_file = threading.Event(), ledger.keep

    def refuse(*given: Any) -> Any:
        if read_only.is_set():
            raise refusing(errno.EROFS)
        return keep_file(*given)

    monkeypatch.setattr(ledger, "keep", refuse)
    read_only.set()
    with recording(camera, monkeypatch, [["segment", 1.0], ["exit", 0]], [["exit", 0]], [["record"]]):
        camera.until(lambda: remembered(camera).get("reason") == "camera_lost", "it is remembered")
        assert camera.segments() == []
        read_only.clear()
        camera.until(camera.segments, "the file has its place")
        camera.until(lambda: remembered(camera).get("after") == camera.segments()[0].file, "in order")


@pytest.mark.parametrize("folder", [ledger.STAGING, "north"])
def test_who_sees_a_read_only_disk_for_long_is_begun_anew(
    camera: Camera, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """A unit's own view of a mount keeps its flag."""
    settings = camera.settings()

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        if path.name in {folder, "now.json"}:
            raise refusing(errno.EROFS)

    monkeypatch.setattr(run, "ANEW_S", -1.0)
    monkeypatch.setattr(disks, "try_to_write", refuse)
    if folder == "north":
        monkeypatch.setattr(files, "write", refuse)
    said: list[str] = []
    with pytest.raises(SystemExit):
        run.Recorder(settings, input_of(settings.source, 3, None), said.append).run()
    assert "begun anew" in said[-1]


def test_every_way_of_a_disk_has_its_name(camera: Camera) -> None:
    named = [disks.reason_of(refusing(one)) for one in (errno.EDQUOT, errno.EIO, errno.ENOENT)]
    assert named == ["disk_full", "disk_failed", "recorder_failed"]
    error = OSError(errno.ENOSPC, "No space left on device", f"{camera.folder}/state/north/gaps.jsonl")
    assert disks.words_of(error, camera.settings()).startswith("the disk of its notes (")
    assert (
        disks.words_of(OSError(errno.ENOENT, "gone", "/usr/bin/ffmpeg"), camera.settings()) == "/usr/bin/ffmpeg: gone"
    )


def test_ffmpegs_words_name_the_disk_too(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    life = [["segment", 1.0], ["word", "av_interleaved_write_frame(): No space left on device"], ["exit", 1]]
    with recording(camera, monkeypatch, life, [["record"]]):
        camera.until(lambda: remembered(camera).get("reason") == "disk_full", "the disk is named")


def test_film_goes_on_while_nothing_can_be_written_down(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the notes is another than that of the film."""
    full, append = threading.Event(), files.append

    def refuse(path: Path, document: Any) -> None:
        if full.is_set():
            raise refusing(errno.ENOSPC)
        append(path, document)

    monkeypatch.setattr(files, "append", refuse)
    full.set()
    step = [["segment", 1.0], ["wait", 1.1]]
    with recording(camera, monkeypatch, [*step, *step, *step, ["exit", 0]], [["wait", 2.5], *step, ["record"]]) as said:
        camera.until(lambda: (camera.folder / "script.json").read_text() == '[[["hang"]]]', "the second life")
        camera.until(lambda: len(list(_staged(camera))) == 4, "all film is there")
        assert (camera.segments(), camera.gaps()) == ([], [])
        full.clear()
        camera.until(lambda: len(camera.segments()) == 4, "all is noted")
        camera.until(lambda: not list(_staged(camera)), "all has its place")
    assert len([line for line in said if line.startswith("disk_full")]) == 1
    assert [one.file for one in camera.segments()] == camera.film()
    assert [gap.reason for gap in camera.gaps()] == ["camera_lost"]


@pytest.mark.parametrize("step", range(7))
def test_a_file_that_is_kept_is_kept_once_wherever_it_is_cut_off(
    camera: Camera, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    settings = camera.settings()
    settings.state_folder.mkdir(parents=True)
    staged = settings.folder / ledger.STAGING / "20261130T081500Z.mp4"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"film")
    left = [step]

    def cut_off(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **more: Any) -> Any:
            if left[0] == 0:
                raise refusing(errno.ENOSPC)
            left[0] -= 1
            return call(*given, **more)

        return called

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(ledger.files, "sync", cut_off(files.sync))
        patch.setattr(ledger.files, "append", cut_off(files.append))
        patch.setattr(ledger.os, "link", cut_off(os.link))
        patch.setattr(Path, "mkdir", cut_off(Path.mkdir))
        patch.setattr(Path, "unlink", cut_off(Path.unlink))
        ledger.keep(settings, staged, 60.0)
    kept = ledger.keep(settings, staged, 60.0)
    assert camera.segments() == [kept]
    assert camera.film() == ["2026-11-30/20261130T081500Z.mp4"]
    assert not staged.exists()


def test_a_line_that_the_disk_does_not_take_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines.jsonl"
    files.append(path, {"number": 1})

    def refuse(_: int) -> None:
        raise refusing(errno.ENOSPC)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(files.os, "fsync", refuse)
        files.append(path, {"number": 2})
    assert path.read_text() == '{"number": 1}\n'


def test_what_a_full_disk_cut_off_of_a_file_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    whole = box(b"ftyp") + box(b"moov") + box(b"moof") + box(b"mdat") + box(b"moof") + box(b"mdat", 90)
    for rest, is_broken in (
        (b"", False),
        (box(b"mfra"), False),
        (box(b"moof") + box(b"mdat")[:20], True),
        (b"x", True),
    ):
        path.write_bytes(whole + rest)
        assert fragments.film_of(path) == fragments.Film(len(whole), is_broken)
        fragments.cut(path)
        assert path.read_bytes() == (whole if is_broken else whole + rest)
    path.write_bytes(struct.pack(">I4sQ", 1, b"moof", 20) + bytes(4) + box(b"mdat"))
    assert fragments.film_of(path).whole_bytes == 20 + 48
    path.write_bytes(box(b"ftyp") + box(b"moof")[:12])
    assert fragments.film_of(path) == fragments.Film(0, is_broken=True)


def test_a_file_that_nobody_closed_is_film_only_with_a_picture_in_it(camera: Camera) -> None:
    process = camera.start([["begun"], ["wait", 1.1], ["open"], ["exit", 1]], [["record"]])
    camera.until(camera.segments, "the one with a picture")
    stop(process)
    assert len(camera.film()) == 1


def test_a_file_that_is_closed_late_ends_where_the_camera_fell_silent(camera: Camera) -> None:
    """As ffmpeg does for a frozen camera: it waits, has one more picture, and opens another file for it."""
    step = [["segment", 1.0], ["wait", 1.1]]
    life = [*step, *step, ["wait", 4.0], ["segment", 1.0], ["wait", 4.0], ["segment", 0.1], ["wait", 1.1], ["exit", 0]]
    process = camera.start(life, [*step, *step, ["record"]])
    camera.until(lambda: len(camera.segments()) == 6, "the camera is back")
    stop(process)
    known = sorted((one.start, one.end) for one in [*camera.segments(), *camera.gaps()])
    assert all(later[0] - earlier[1] < 2.5 for earlier, later in pairwise(known))
    assert {gap.reason for gap in camera.gaps()} == {"camera_lost"}
    filmed_s = sum(one.end - one.start for one in camera.segments())
    assert filmed_s == pytest.approx(5.1)
    assert known[-1][1] - known[0][0] == pytest.approx(filmed_s + sum(g.end - g.start for g in camera.gaps()), abs=2.5)


def test_a_camera_whose_clock_jumps_gets_no_film_that_it_did_not_make(camera: Camera) -> None:
    step = [["segment", 1.0], ["wait", 1.1]]
    process = camera.start([*step, ["segment", 3600.0], ["wait", 1.1], *step, ["record"]])
    camera.until(lambda: len(camera.segments()) == 3, "three segments")
    assert "by the camera's clock" in stop(process)
    assert all(one.end - one.start < 10 for one in camera.segments())


@pytest.mark.parametrize(
    ("secret", "word", "reason", "detail"),
    [
        ("viewer:wrong", "method DESCRIBE failed: 401 Unauthorized", "camera_refused", "wrong user or password"),
        (None, "Server returned 401 Unauthorized (authorization failed)", "camera_refused", "wants a user"),
        (None, "Server returned 404 Not Found", "camera_refused", "no such stream"),
        (None, "Connection to tcp://10.0.0.9:8401 failed: Connection refused", "camera_lost", "Connection refused"),
    ],
)
def test_what_a_camera_answers_is_said_in_words(
    camera: Camera, secret: str | None, word: str, reason: str, detail: str
) -> None:
    process = camera.start([["word", word], ["word", "pipe:0: Input/output error"], ["exit", 1]], secret=secret)
    camera.until(lambda: remembered(camera).get("reason") == reason, "it is remembered")
    camera.until(lambda: detail in remembered(camera)["detail"] or reason == "camera_lost", detail)
    assert "wrong@" not in stop(process) + json.dumps(remembered(camera))


# --- clocks


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_a_clock_that_is_set_ends_the_file_in_hand(
    camera: Camera, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """No file has both times in it; what follows is of the new time."""
    offset_s, real = [0.0], clock.offset_s
    monkeypatch.setattr(clock, "offset_s", lambda: real() + offset_s[0])
    step = [["segment", 1.0], ["wait", 1.1]]
    with recording(camera, monkeypatch, [*step, ["record"]], [["wait", 2.5], *step, ["record"]]) as said:
        camera.until(camera.segments, "a file of the old time")
        offset_s[0] = step_s
        camera.until(lambda: len(camera.segments()) == 2, "a file of the new time")
    assert any(line.startswith("clock_changed: the clock was set") for line in said)
    assert {gap.reason for gap in camera.gaps()} <= {"clock_changed"}


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_a_file_that_ffmpeg_began_after_the_clock_was_set_is_of_the_new_time(
    camera: Camera, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """It may cut at once, before the recorder sees that the clock was set."""
    settings = camera.settings()
    settings.state_folder.mkdir(parents=True)
    old_s, boot_s = clock.offset_s(), time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(clock, "offset_s", lambda: old_s + step_s)
    for offset_s in (old_s, old_s + step_s):
        staged = Path(time.strftime(ledger.PATTERN, time.gmtime(boot_s + offset_s - 3)))
        assert run._clock_of(staged, old_s) == offset_s


def test_who_starts_after_the_clock_was_set_back_goes_by_the_last_file_and_not_by_the_latest(camera: Camera) -> None:
    settings = camera.settings()
    settings.state_folder.mkdir(parents=True)
    (settings.folder / ledger.STAGING).mkdir(parents=True)
    first = 1_796_052_900.0
    for number, start in enumerate((first + 3600, first)):  # set back by an hour
        segment = Segment(f"2026-11-30/{number}.mp4", start, start + 60, 4, number)
        files.append(settings.state_folder / "segments.jsonl", asdict(segment))
    recorder = run.Recorder(settings, input_of(settings.source, 3, None), lambda _: None)
    open_gap.remember(settings, None)
    gap = recorder._before()
    assert gap is not None
    assert (gap.start, gap.reason) == (first + 60, "killed")
    # The camera was lost then, and the recorder killed: the file that is later by its name came before.
    lost = open_gap.OpenGap(first + 60, "camera_lost", "", clock.offset_s(), "2026-11-30/1.mp4")
    open_gap.remember(settings, lost)
    assert recorder._before() == lost
    assert camera.gaps() == []


def test_a_clock_that_jumps_ahead_makes_no_film_old(camera: Camera) -> None:
    now = time.time()
    settings = camera.settings(keep_days=1)
    _made(settings, 0.5, now=now)
    assert keep.tidy(settings, now + 3 * keep.DAY_S, print, by_days=False) == []
    assert len(keep.tidy(settings, now + 3 * keep.DAY_S, print)) == 1


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
        staged.write_bytes(box(b"moof") + box(b"mdat"))
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


def test_a_full_disk_takes_the_note_when_the_film_is_gone(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    settings = camera.settings(keep_days=1)
    (old,) = _made(settings, 3.0, now=now)
    append = files.append

    def refuse(path: Path, document: Any) -> None:
        if camera.film():
            raise refusing(errno.ENOSPC)
        append(path, document)

    monkeypatch.setattr(files, "append", refuse)
    assert keep.tidy(settings, now, print) == [old]
    assert old.file in (settings.state_folder / "removed.jsonl").read_text()


def test_notes_do_not_grow_for_ever(camera: Camera) -> None:
    now = time.time()
    settings = camera.settings(keep_days=1)
    settings.state_folder.mkdir(parents=True)
    for days_ago in (200, 100, 20, 1):
        end = now - days_ago * keep.DAY_S
        ledger.note(settings, ledger.Gap(end - 10, end, "camera_lost"))
        files.append(settings.state_folder / "removed.jsonl", {"end": end, "why": "its days are over"})
    keep.tidy(settings, now, print)
    assert len(camera.gaps()) == 2
    assert len(list(files.lines(settings.state_folder / "removed.jsonl"))) == 2


def test_a_disk_that_is_slow_is_named_as_long_as_it_is(camera: Camera) -> None:
    settings = camera.settings()
    settings.state_folder.mkdir(parents=True)
    said: list[str] = []
    recorder = run.Recorder(settings, input_of(settings.source, 3, None), said.append)
    segment = Segment("2026-11-30/a.mp4", 0.0, 60.0, 2 << 20, 1)
    for took_s, remembered in ((14.24, 14.2), (0.1, None), (0.1, None)):
        recorder._timed(segment, took_s)
        assert files.read(settings.state_folder / "disk.json") == {"slow_s": remembered}
    assert said == ["2026-11-30/a.mp4: its disk is slow, 14.2 s for 2048 KiB"]


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
