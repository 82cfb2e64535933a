"""The watch: footage that comes file by file, through kills, a backlog and files that go, into the same events."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from shoal_detect.errors import DetectorError, Exit, Interrupted
from shoal_detect.events.rules import Rules
from shoal_detect.read.videos import Video
from shoal_detect.state import lines, store
from shoal_detect.stop import Stop
from shoal_detect.watch import chain, keeper
from shoal_detect.watch import run as running
from shoal_detect.watch.keeper import EventsKeeper
from shoal_detect.watch.ledger import Ledger
from shoal_detect.watch.messages import BeginEvents, ClipDone, MakeClip, Take, Taken
from shoal_detect.watch.run import watch
from shoal_detect.watch.settings import load, parsed

from tests.detector import detector_making as making

SCHEMA = json.loads((making.DETECTOR / "schemas" / "event.schema.json").read_text())
STATUS = json.loads((making.DETECTOR / "schemas" / "watch_status.schema.json").read_text())
BEGAN = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
SEGMENT_S, FPS = 4, 10
RULES = {"version": 1, "quiet_s": 3, "roll_before_s": 1, "roll_after_s": 1}


def film(path: Path, first_s: float, seen: Callable[[float], bool], scale: int = 1) -> None:
    """Four seconds in which a red square goes to and fro while it is `seen`."""
    pictures = []
    for number in range(SEGMENT_S * FPS):
        time_s = first_s + number / FPS
        column = abs(int(time_s * 3) % 6 - 3)
        picture = making.picture({(column, 1): making.RED} if seen(time_s) else {}, 128, 64)
        pictures.append(picture.repeat(scale, axis=0).repeat(scale, axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}")
    making.write_video(part, pictures, codec="libx264", fps=FPS)
    part.rename(path)


def visits(time_s: float) -> bool:
    """Somebody is there for 3 s of every 12, over the border of two files."""
    return 2.5 <= time_s % 12 < 5.5


@dataclass
class Site:
    """A machine's footage and watch."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    python_path: list[Path] = field(default_factory=lambda: [making.DETECTOR])

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def make(self, cameras: tuple[str, ...] = ("north",), **more: Any) -> None:
        (self.videos / ".shoal").mkdir(parents=True)
        (self.videos / ".shoal" / "events.json").write_text(json.dumps(RULES))
        weights = self.folder / "model.onnx"
        weights.write_bytes(making.model())
        document = {
            "version": 1,
            "cameras": [{"name": name, "folder": f"cameras/{name}"} for name in cameras],
            "weights": str(weights),
            "weights_name": "squares",
            "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "img": 128,
            "precision": "float32",
            "processes": 1,
            "stride_most": 1,
            "look_back_s": 1e9,
            "reuse": False,
            **more,
        }
        (self.folder / "watch.json").write_text(json.dumps(document))

    def segment(self, number: int, camera: str = "north", seen: Callable[[float], bool] = visits) -> Path:
        first_s = number * SEGMENT_S
        name = f"{BEGAN + timedelta(seconds=first_s):%Y%m%dT%H%M%SZ}.mp4"
        path = self.videos / "cameras" / camera / "2026-11-30" / name
        film(path, first_s, seen)
        return path

    def start(self) -> subprocess.Popen[bytes]:
        words = ["--settings", "watch.json", "--input", "videos", "--state", "state"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, self.python_path))}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "shoal_detect", "watch", *words],
                cwd=self.folder, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def ledger(self, camera: str = "north") -> list[dict[str, Any]]:
        path = self.state / "cameras" / camera / "ledger.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def events(self) -> dict[str, dict[str, Any]]:
        found = {}
        for path in sorted((self.state / "events").glob("*/events.jsonl")):  # `new-ID`, then `watch-ID`
            assert (path.parent / "manifest.json").is_file()
            (event,) = [json.loads(line) for line in path.read_text().splitlines()]
            jsonschema.validate(event, SCHEMA, cls=jsonschema.Draft202012Validator)
            found[event["id"]] = event
        return found

    def until(self, holds: Callable[[], object], what: str, limit_s: float = 90) -> None:
        end = time.monotonic() + limit_s
        while not holds():
            alive = self.processes[-1].poll() is None
            assert alive and time.monotonic() < end, f"{what}: {(self.folder / 'log').read_text()[-2000:]}"
            time.sleep(0.1)

    def status(self) -> dict[str, Any]:
        """What it says of itself; before it has ever done so, nothing."""
        path = self.state / "status.json"
        return cast(dict[str, Any], json.loads(path.read_text())) if path.exists() else {"at_s": 0.0}

    def stop(self, *, with_clips: bool = True) -> int:
        """End it, when every event has its clip."""
        if with_clips:
            self.until(lambda: not [*(self.state / "events").glob("new-*")], "the clips are made")
        process = self.processes[-1]
        process.terminate()
        return process.wait(20)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


def until(holds: Callable[[], object], what: str, limit_s: float = 90) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def what_happened(events: dict[str, dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What stays the same however the clip was made."""
    return sorted(
        (one["id"], one["camera"], one["start_utc"], one["end_utc"], one["severity"]) for one in events.values()
    )


def test_footage_becomes_events_as_it_comes_and_over_the_borders_of_files(site: Site) -> None:
    site.make()
    site.segment(0)
    site.start()
    site.until(lambda: len(site.ledger()) == 1, "the first file")
    assert site.events() == {}  # somebody is there at its end
    for number in range(1, 5):
        site.segment(number)
        site.until(lambda number=number: len(site.ledger()) == number + 1, f"file {number}")  # type: ignore[misc]
    assert site.stop() == 0
    first = min(site.events().values(), key=lambda one: one["start_s"])
    assert (first["camera"], first["start_utc"][:22]) == ("north", "2026-11-30T08:00:02.50")
    assert len(first["videos"]) == 2
    assert first["clip"]["state"] == "verified"
    assert first["clip"]["frames"] == pytest.approx(50, abs=3)
    status = json.loads((site.state / "status.json").read_text())
    jsonschema.validate(status, STATUS, cls=jsonschema.Draft202012Validator)
    assert status["cameras"]["north"]["segments"] == 5
    # What is done with leaves nothing behind but what is carried.
    carried = json.loads((site.state / "cameras" / "north" / "carried.json").read_text())
    assert {path.name for path in (site.state / "videos").iterdir()} == {
        part["video_id"] for part in carried["carried"]["parts"]
    }


def test_the_outbox_finds_every_event_once_and_none_again_after_its_folder_went(site: Site) -> None:
    site.make(("north", "gate"))
    for number in range(4):
        for camera in ("north", "gate"):
            site.segment(number, camera)
    site.start()
    site.until(lambda: len(site.ledger("north")) == len(site.ledger("gate")) == 4, "both cameras")
    assert site.stop() == 0
    outbox = {
        "version": 1, "node": "gate-1", "remote": "store:x", "to": "folder:/x", "rclone": "rclone",
        "rclone_config": "", "root": str(site.folder / "outbox"), "sources": [str(site.state / "events")],
        "disk_floor_bytes": 0,
    }  # fmt: skip
    (site.folder / "outbox.json").write_text(json.dumps(outbox))
    (site.folder / "outbox").mkdir()

    def asked(verb: str) -> list[dict[str, Any]]:
        words = [sys.executable, "-m", "outbox", "--settings", str(site.folder / "outbox.json"), verb]
        done = subprocess.run(words, cwd=making.REPOSITORY, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    events = site.events()
    assert sorted({one["camera"] for one in events.values()}) == ["gate", "north"]
    for _ in range(2):
        asked("collect")
        known = asked("events")
        assert sorted(one["event"] for one in known) == sorted(events)
        assert all(one["run"] == f"watch-{one['event']}" for one in known)
        assert all([part["state"] for part in one["parts"]] == ["waiting", "waiting"] for one in known)
    shutil.rmtree(site.state / "events")  # as retention does once they are shipped
    site.segment(4)
    site.start()
    site.until(lambda: len(site.ledger()) == 5, "one more file")
    assert site.stop() == 0
    assert not set(site.events()) & set(events)


@pytest.mark.parametrize(("count", "kills"), [(6, 5), pytest.param(12, 60, marks=pytest.mark.long)])
def test_kills_at_any_moment_change_no_event_and_lose_no_file(
    site: Site, tmp_path: Path, count: int, kills: int
) -> None:
    site.make()
    for number in range(count):
        site.segment(number)
    other = Site(tmp_path / "undisturbed")
    other.folder.mkdir()
    other.make()
    shutil.copytree(site.videos / "cameras", other.videos / "cameras")
    other.start()
    other.until(lambda: len(other.ledger()) == count, "an undisturbed pass")
    assert other.stop() == 0
    dice = random.Random(18)
    for _ in range(kills):
        process = site.start()
        time.sleep(dice.uniform(0.8, 4.0))  # the moment of the kill, anywhere
        process.send_signal(signal.SIGKILL)
        process.wait()
        if len(site.ledger()) == count:
            break
    began_s = time.time()
    site.start()
    site.until(lambda: site.status()["at_s"] > began_s, "it is at work")
    site.until(lambda: len(site.ledger()) == count, "all files")
    assert site.stop() == 0
    names = [line["segment"] for line in site.ledger()]
    assert names == sorted(set(names))
    assert len(other.events()) >= count // 4
    assert what_happened(site.events()) == what_happened(other.events())
    assert sorted(one for line in site.ledger() for one in line["events"]) == sorted(site.events())
    assert not [*site.state.glob(".making/*")]


def test_who_is_behind_tells_the_newest_alerts_first_and_each_once(site: Site) -> None:
    site.make(behind_s=600)  # however slow the machine is, the newest stay new
    count = 18
    paths = [site.segment(number) for number in range(count)]
    now_s = time.time()
    for number, path in enumerate(paths):
        closed_s = now_s - 3600 + number * SEGMENT_S if number < count - 8 else now_s
        os.utime(path, (closed_s, closed_s))
    site.start()
    site.until(lambda: len(site.ledger()) == count, "all files")
    assert site.stop() == 0
    told = [json.loads(line) for line in (site.state / "cameras/north/told.jsonl").read_text().splitlines()]
    assert told[0]["early"]
    in_turn = [one["start_utc"] for one in told if not one["early"]]
    assert in_turn
    assert max(in_turn[:3]) < told[0]["start_utc"]
    starts = sorted(one["start_utc"] for one in site.events().values())
    assert starts == sorted(set(starts))
    assert len(starts) == 6  # one visit in twelve seconds
    assert not (site.state / "cameras/north/early.json").exists()
    assert len([*(site.state / "videos").iterdir()]) <= count


def test_a_file_that_goes_before_it_was_looked_at_is_accounted_for(site: Site) -> None:
    site.make()
    paths = [site.segment(number) for number in range(3)]
    process = site.start()
    site.until(site.ledger, "the first file")
    process.send_signal(signal.SIGSTOP)
    there = len(site.ledger())
    later = site.segment(5)
    process.send_signal(signal.SIGCONT)
    site.until(lambda: len(site.ledger()) >= min(there + 1, 4), "the next")
    site.until(lambda: len(site.ledger()) == len(paths) + 1, "all")
    assert later.exists()
    assert site.stop() == 0


def test_a_camera_that_comes_back_with_another_resolution_is_the_same_camera(site: Site) -> None:
    site.make()
    site.segment(0)
    path = site.segment(1)
    film(path, SEGMENT_S, visits, scale=2)
    site.segment(2)
    site.start()
    site.until(lambda: len(site.ledger()) == 3, "all files")
    assert site.stop() == 0
    assert not any(line["fault"] for line in site.ledger())
    (event,) = site.events().values()
    assert len(event["videos"]) == 2
    assert event["end_s"] - event["start_s"] == pytest.approx(2.9, abs=0.2)


def test_a_clock_that_is_set_back_loses_no_file_and_no_event(site: Site) -> None:
    site.make()
    for number in (10, 11, 12, 13):
        site.segment(number)
    site.start()
    site.until(lambda: len(site.ledger()) == 4, "the files before")
    for number in (2, 3, 4, 5):  # the clock went back
        site.segment(number)
        site.until(lambda number=number: len(site.ledger()) == 3 + number, f"file {number}")  # type: ignore[misc]
    assert site.stop() == 0
    assert len({line["segment"] for line in site.ledger()}) == 8
    starts = sorted(one["start_utc"][14:19] for one in site.events().values())
    assert starts == ["00:14", "00:40", "00:50"]


def test_a_clock_that_was_ahead_at_the_first_start_makes_nobody_blind(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.make(look_back_s=600)
    monkeypatch.chdir(site.folder)
    watcher = running.Watcher(load(site.folder / "watch.json"), site.state, str(site.videos), Stop())
    site.state.mkdir()
    store.write_file(site.state / "began.json", store.to_json_line({"since_s": time.time() + 86_400}))
    watcher._take_up()
    site.segment(0)
    watcher._scan()
    assert len(watcher.cameras[0].pending) == 1
    assert json.loads((site.state / "began.json").read_text())["since_s"] <= time.time()


def remembering(site: Site, keep_days: int = 30) -> list[str]:
    """Ids of the events that a camera's chain remembers."""
    path = site.state / "cameras/north" / chain.PUBLISHED
    made = chain.Chain(site.state, str(site.videos), cast(Rules, None), "off", None, lambda: None, None, lambda: None)
    return [one["id"] for one in made._remembered(path, keep_days)]


def told(site: Site, *days_ago: float) -> Path:
    """A line for an event of each of so many days ago."""
    path = site.state / "cameras/north" / chain.PUBLISHED
    path.parent.mkdir(parents=True, exist_ok=True)
    for number, days in enumerate(days_ago):
        end = datetime.now(UTC) - timedelta(days=days)
        lines.append(path, {"id": f"e{number}", "segment": "s", "early": False, "end_utc": end.isoformat()})
    return path


def test_events_are_remembered_as_long_as_their_footage_may_be_there(site: Site) -> None:
    path = told(site, 400, 100, 40, 29, 0)
    assert remembering(site, keep_days=200) == ["e1", "e2", "e3", "e4"]
    assert remembering(site) == ["e3", "e4"]
    assert len(path.read_text().splitlines()) == 2
    before = path.stat().st_ino
    assert remembering(site) == ["e3", "e4"]
    assert path.stat().st_ino == before  # written anew once a day at most


def test_a_clock_that_jumps_ahead_forgets_no_event(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    told(site, 5, 3, 1)
    ahead = time.time() + 90 * 86_400
    monkeypatch.setattr(chain.time, "time", lambda: ahead)
    assert len(remembering(site)) == 3


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_who_is_killed_while_events_are_forgotten_has_the_old_ones_or_the_new_ones(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = told(site, 400, 100, 3, 1)
    whole = path.read_bytes()
    pid = os.fork()
    if pid == 0:
        where = os if call == "fsync" else Path
        setattr(where, call, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        remembering(site)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert path.read_bytes() == whole
    assert remembering(site) == ["e2", "e3"]
    assert remembering(site) == ["e2", "e3"]


def test_a_ledger_forgets_files_that_are_gone_while_it_is_at_work(site: Site) -> None:
    site.make()
    there = site.segment(0)
    ledger = Ledger(site.state, str(site.videos), "north")
    ledger.load()
    line = {"frames": 5, "seconds": 1.0, "fault": None, "events": [], "at_s": time.time() - 30 * 86_400}
    ledger.add({**line, "segment": str(there.relative_to(site.videos))})
    ledger.add({**line, "segment": "cameras/north/gone.mp4"})
    ledger.forget()
    assert len(site.ledger()) == 1
    assert ledger.known == {site.ledger()[0]["segment"]}
    again = Ledger(site.state, str(site.videos), "north")
    again.load()
    assert again.counts == ledger.counts
    assert again.counts["frames"] == 10


def test_a_line_that_the_disk_does_not_take_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines.jsonl"
    lines.append(path, {"number": 1})

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(DetectorError, match="No space"):
        patch.setattr(store, "sync_file", refuse)
        lines.append(path, {"number": 2})
    assert path.read_text() == '{"number": 1}\n'


def test_a_watch_that_can_note_nothing_waits_and_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.make()
    tries = []

    def refuse(folder: Path) -> None:
        tries.append(folder)
        if len(tries) < 4:
            raise DetectorError(f"cannot write {folder}: No space left on device", Exit.STATE)

    monkeypatch.setattr(store, "try_to_write", refuse)
    monkeypatch.setattr(running, "ROOM_S", 0.01)
    running._await_room(site.state, Stop())
    assert len(tries) == 4
    tries.clear()
    monkeypatch.setattr(running, "ANEW_S", -1.0)
    with pytest.raises(DetectorError, match="No space left"):
        running._await_room(site.state, Stop())
    assert capsys.readouterr().out.count("the watch waits for that") == 2


def test_clips_wait_for_room_and_events_do_not(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.make()
    site.state.mkdir()
    monkeypatch.chdir(site.folder)
    watcher = running.Watcher(load(site.folder / "watch.json"), site.state, str(site.videos), Stop())
    watcher._clips = [(False, 0.0, "e")]
    assert watcher._next_clip() == "e"
    monkeypatch.setattr(running, "CLIP_ROOM_BYTES", 1 << 60)
    assert watcher._next_clip() is None
    assert watcher._next_clip() is None
    assert capsys.readouterr().out.count("1 clips wait for room") == 1


def test_damaged_footage_is_a_fault_and_the_watch_goes_on(site: Site) -> None:
    site.make()
    site.segment(0)
    broken = site.segment(1)
    broken.write_bytes(b"\0" * 5000)
    site.segment(2)
    site.start()
    site.until(lambda: len(site.ledger()) == 3, "all files")
    assert site.stop() == 0
    assert [bool(line["fault"]) for line in site.ledger()] == [False, True, False]


STARVED = """
import os, pathlib, signal, sys
folder = pathlib.Path({folder!r})
if "shoal_detect" in sys.orig_argv:
    from shoal_detect import memory
    memory.killed = lambda: len((folder / "killed").read_text().split())
if "shoal_detect.child" in sys.orig_argv:
    from shoal_detect import pipeline
    look = pipeline._Eyes.look
    def looking(eyes, prepared):
        times = len((folder / "killed").read_text().split())
        if eyes._video.name.endswith("T080004Z.mp4") and prepared.frame.index == {at} and times < {times}:
            with (folder / "killed").open("a") as file:
                file.write("once ")
            os.kill(os.getpid(), signal.SIGKILL)
        return look(eyes, prepared)
    pipeline._Eyes.look = looking
"""


@pytest.mark.parametrize(("at", "times", "frames"), [(12, 1, range(40, 41)), (12, 2, range(8, 25)), (0, 9, range(1))])
def test_a_file_that_the_kernel_kills_for_want_of_memory_costs_itself_and_not_the_watch(
    site: Site, at: int, times: int, frames: range
) -> None:
    site.make()
    starving = site.folder / "starving"
    starving.mkdir()
    (starving / "killed").touch()
    (starving / "sitecustomize.py").write_text(STARVED.format(folder=str(starving), at=at, times=times))
    site.python_path.insert(0, starving)
    for number in range(3):
        site.segment(number)
    watch = site.start()
    site.until(lambda: len(site.ledger()) == 3, "all files")
    assert watch.poll() is None
    before, starved, after = site.ledger()
    assert (before["frames"], before["fault"], after["frames"], after["fault"]) == (40, None, 40, None)
    assert starved["frames"] in frames
    assert (starved["fault"] or {}).get("kind") == (None if times == 1 else "out_of_memory")


def test_a_decoder_that_dies_costs_a_look_and_not_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken(("e",), {"seconds": 1.0, "frames": 10, "fault": None})
    answers = iter(["the decoder died", taken])
    asked: list[Take] = []

    def answer(_: EventsKeeper, task: Take, _check: object) -> object:
        asked.append(task)
        return next(answers)

    monkeypatch.setattr(EventsKeeper, "_asked", answer)
    task = Take("north", "cameras/north", "a.mp4", None, Video("/a.mp4", "a.mp4", "a", 1))
    assert EventsKeeper(cast(BeginEvents, None)).take(task, lambda: None) == taken
    assert [one.blind for one in asked] == [False, True]


def test_a_decoder_that_dies_costs_a_clip_and_not_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["the decoder died", ClipDone()])
    asked: list[MakeClip] = []

    def answer(_: EventsKeeper, task: MakeClip, _check: object) -> object:
        asked.append(task)
        return next(answers)

    monkeypatch.setattr(EventsKeeper, "_asked", answer)
    EventsKeeper(cast(BeginEvents, None)).make_clip(MakeClip("e"), lambda: None)
    assert asked == [MakeClip("e"), MakeClip("e", "the decoder died")]


@pytest.mark.parametrize("for_memory", [True, False])
def test_a_clip_that_the_kernel_kills_for_want_of_memory_is_given_up(
    monkeypatch: pytest.MonkeyPatch, for_memory: bool
) -> None:
    """Killed by somebody, the watch ends and goes on with it at its next start."""
    counts = iter([0, int(for_memory)])

    def dying(_module: str) -> tuple[subprocess.Popen[bytes], Connection]:
        ours, theirs = socket.socketpair()
        code = f"import os, signal; os.read({theirs.fileno()}, 1); os.kill(os.getpid(), signal.SIGKILL)"
        with theirs:
            process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()])
        return process, Connection(ours.detach())

    monkeypatch.setattr(keeper, "begun", dying)
    monkeypatch.setattr(keeper.memory, "killed", lambda: next(counts))
    tool = EventsKeeper(cast(BeginEvents, None))
    if for_memory:
        assert tool._asked(MakeClip("e"), lambda: None) == "its process ran out of memory"
    else:
        with pytest.raises(Interrupted) as ended:
            tool._asked(MakeClip("e"), lambda: None)
        assert ended.value.signal_number == signal.SIGKILL


def test_no_footage_waits_for_a_clip(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is with the outbox as soon as it is decided; its clip follows, whatever that takes."""
    site.make()
    for number in range(9):
        site.segment(number)
    gate, real = threading.Event(), EventsKeeper.make_clip

    def slow(keeper: EventsKeeper, task: MakeClip, check: Callable[[], None]) -> None:
        while not gate.wait(0.1):
            check()
        real(keeper, task, check)

    monkeypatch.setattr(EventsKeeper, "make_clip", slow)
    stop, settings = Stop(), load(site.folder / "watch.json")
    ended = threading.Thread(target=lambda: watch(settings, site.state, str(site.videos), stop))
    monkeypatch.chdir(site.folder)
    ended.start()
    try:
        until(lambda: len(site.ledger()) == 9, "all files although no clip is made")
        waiting = site.events()
        assert len(waiting) == 2  # of 36 s, one visit in twelve; the last may go on
        assert {(one["clip"]["state"], one["key_frame"]) for one in waiting.values()} == {("pending", None)}
        until(lambda: site.status()["clips_to_make"] == 2, "the status says so")
        gate.set()
        until(lambda: site.status()["clips_to_make"] == 0, "the clips are made")
    finally:
        stop._note(signal.SIGTERM, None)
        ended.join(30)
    whole = site.events()
    assert {one["clip"]["state"] for one in whole.values()} == {"verified"}
    assert what_happened(whole) == what_happened(waiting)
    assert not [*(site.state / "events").glob("new-*")]


def test_who_is_behind_looks_at_fewer_frames_and_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What gives way: the stride, up to its most; the status says so. It comes back when there is room."""
    site.make(stride=1, stride_most=4, behind_s=60)
    monkeypatch.setattr(running, "EASE_S", 0.0)
    monkeypatch.chdir(site.folder)
    watcher = running.Watcher(load(site.folder / "watch.json"), site.state, str(site.videos), Stop())
    path = site.segment(0)
    os.utime(path, (time.time() - 600, time.time() - 600))
    site.state.mkdir()
    watcher._take_up()
    strides = []
    for _ in range(3):
        watcher._ease()
        watcher._status()
        strides.append((site.status()["stride"], site.status()["stride_wanted"]))
    assert strides == [(2, 1), (4, 1), (4, 1)]
    found = watcher._next_to_detect()
    assert found is not None
    assert found[2] == 4
    watcher.cameras[0].detected.add(found[1].name)  # caught up
    for _ in range(2):
        watcher._ease()
    assert watcher.stride() == 1


def test_the_ledger_has_the_stride_of_a_file_that_was_detected_before_a_kill(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.make(stride=3, stride_most=3)
    site.segment(0)
    monkeypatch.chdir(site.folder)

    def killed(*_: object) -> Taken:
        raise Interrupted(signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(EventsKeeper, "take", killed)
        watch(load(site.folder / "watch.json"), site.state, str(site.videos), Stop())
    assert site.ledger() == []
    site.start()
    site.until(site.ledger, "the file is done")
    assert [line["stride"] for line in site.ledger()] == [3]


def test_settings_name_every_fault() -> None:
    document = {"version": 1, "cameras": [{"name": "a", "folder": "/etc"}, {"name": "a", "folder": "x"}]}
    more = {"weights": "w", "weights_name": "w", "weights_sha256": "0" * 64, "stride": 9, "stride_most": 2}
    with pytest.raises(DetectorError) as caught:
        parsed({**document, **more}, "watch.json")
    assert all(word in caught.value.message for word in ("'a' comes twice", "'/etc'", "stride"))
