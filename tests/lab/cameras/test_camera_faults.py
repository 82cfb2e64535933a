"""Cameras and clocks that fail, on a node that records and watches: every second is in film or in a gap.

Gone, frozen, back with another resolution, a wrong password, a camera whose clock jumps, a node whose clock jumps.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from faulty_front import Front
from lab_under_test import Lab
from live_cameras import Camera, as_a_camera_has_it, until
from watched_node import RECORDER, SEGMENT_S, WatchedNode, watched_node

from shoal.paths import repository
from shoal.site import camera_films
from shoal.telling import to_stderr
from shoal.watch.account import JOINT_S

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

SMALL, LARGE = (320, 240), (480, 360)
PASSWORD, WRONG = "s3cret-of-yard", "wr0ng-of-yard"
VARIABLE = "SHOAL_CAMERA_YARD"
CLOCK = "/etc/lab-clock"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
SITE = "/etc/lab-python"
DROP_IN = f"""[Service]
Environment=LD_PRELOAD={FAKETIME} FAKETIME_TIMESTAMP_FILE={CLOCK} FAKETIME_NO_CACHE=1
Environment=FAKETIME_DONT_FAKE_MONOTONIC=1 TZ=Europe/Berlin PYTHONPATH={SITE}
"""
SLEEP = "import select, time; time.sleep = lambda seconds: select.select([], [], [], seconds)"
"""libfaketime 0.9.10 knows no clock_nanosleep() up to a moment, as Python sleeps, and answers EINVAL."""


@dataclass
class Site:
    """The node and its cameras."""

    node: WatchedNode
    clip: Path
    north: Camera
    """Gone, frozen, rebooted."""
    yard: Front
    """Wants a password."""
    gate: Front
    """Its clock jumps."""


@pytest.fixture(scope="module")
def watched(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("cameras")
    clip = camera_films.films(say=to_stderr)[0]
    cameras = {}
    with ExitStack() as stack:
        for number, name in enumerate(("north", "yard", "gate", "dock")):
            as_a_camera_has_it(clip, folder / f"{name}.mp4", SMALL)
            cameras[name] = Camera(name, folder, lab.facts.gateway, 18700 + 20 * number)
            cameras[name].start()
            stack.callback(cameras[name].stop)
        fronts = {
            name: stack.enter_context(Front(lab.facts.gateway, cameras[name].port + 10, cameras[name].port).open())
            for name in ("yard", "gate")
        }
        fronts["yard"].password = f"viewer:{PASSWORD}"
        entries = []
        for name, camera in cameras.items():
            source = camera.source
            if name in fronts:
                source = source.replace(f":{camera.port}/", f":{fronts[name].port}/")
            entries.append({"name": name, "source": source, "keep_days": 90})
            if name == "yard":
                entries[-1]["secret"] = "yard"
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(VARIABLE, f"viewer:{WRONG}")
        node = stack.enter_context(watched_node(lab, folder, entries))
        yield Site(node, clip, cameras["north"], fronts["yard"], fronts["gate"])


def test_a_camera_that_is_gone(watched: Site) -> None:
    node = watched.node
    began_s = node.recorded_again("north").films[-1].start
    watched.north.stop()
    until(lambda: node.now("north").get("reason") == "camera_lost", "the loss is noted")
    time.sleep(5)  # without the camera
    code, status = node.status()
    assert (code, status["north"]["recording"]) == (3, "camera_lost")
    assert any("not recorded: camera_lost" in alarm for alarm in status["north"]["alarms"])
    watched.north.start()
    node.recorded_again("north")
    assert node.accounted("north", began_s) == {"camera_lost"}
    until(lambda: node.status()[1]["north"]["recording"] == "yes", "the status says so", 30)


def test_a_camera_that_is_frozen(watched: Site) -> None:
    """It accepts connections and sends nothing."""
    node = watched.node
    began_s = node.recorded_again("north").films[-1].start
    watched.north.freeze()
    until(lambda: node.now("north").get("reason") == "camera_lost", "the loss is noted")
    time.sleep(10)  # tried again, and frozen still
    assert node.now("north")["reason"] == "camera_lost"
    watched.north.thaw()
    node.recorded_again("north")
    assert node.accounted("north", began_s) == {"camera_lost"}


def test_a_camera_that_reboots_with_another_resolution(watched: Site) -> None:
    node = watched.node
    before = node.recorded_again("north")
    began_s = before.films[-1].start
    watched.north.stop()
    as_a_camera_has_it(watched.clip, watched.north.folder / "north.mp4", LARGE)
    watched.north.start()
    account = node.recorded_again("north", files=4)
    assert node.accounted("north", began_s) == {"camera_lost"}
    sizes = node.readable("north", [film.file for film in account.films if film.end > before.films[-1].end])
    assert sizes == sorted(sizes)
    assert set(sizes[1:]) >= {LARGE}
    assert set(sizes) <= {SMALL, LARGE}


def test_a_wrong_password_is_named_and_shown_nowhere(watched: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    node = watched.node
    until(lambda: node.now("yard").get("reason") == "camera_refused", "it is refused")
    code, status = node.status()
    assert (code, status["yard"]["recording"]) == (3, "camera_refused")
    assert any("401" in alarm and "wrong user or password" in alarm for alarm in status["yard"]["alarms"])
    assert watched.yard.turned_away > 0

    def shown() -> str:
        places = f"{RECORDER}/yard/*.jsonl {RECORDER}/yard/now.json /etc/shoal/recorder/yard.json"
        script = (
            f"ps -eo args; cat {places} 2>/dev/null; journalctl --no-pager; systemctl status 'shoal-recorder@yard'; "
            "for p in $(pgrep -f recorder.pyz; pgrep ffmpeg); do tr '\\0' '\\n' < /proc/$p/environ; done; true"
        )
        return str(node.on(script) + json.dumps(node.status()[1]))

    assert WRONG not in shown()
    monkeypatch.setenv(VARIABLE, f"viewer:{PASSWORD}")
    node.deploy()
    account = node.recorded_again("yard")
    assert "camera_refused" in {gap.reason for gap in account.gaps}
    node.accounted("yard", account.films[0].start)
    text = shown()
    assert "camera_refused" in text
    assert PASSWORD not in text
    assert WRONG not in text


def test_a_camera_whose_clock_jumps(watched: Site) -> None:
    """Its packets' and its sender reports' time goes an hour forwards and back."""
    node = watched.node
    began_s = node.recorded_again("gate").films[-1].start
    for shift_s in (3600.0, 0.0, 40.0, 0.0):
        watched.gate.shift_s = shift_s
        account = node.recorded_again("gate", files=3)
    node.accounted("gate", began_s)
    new = [film for film in account.films if film.end > began_s]
    assert all(film.end - film.start < 3 * SEGMENT_S for film in new)
    filmed_s, took_s = sum(film.end - film.start for film in new), new[-1].end - new[0].start
    assert filmed_s + sum(gap.end - gap.start for gap in account.gaps if gap.end > began_s) > took_s * 0.9
    node.readable("gate", [film.file for film in new])


def hashes(node: WatchedNode, camera: str) -> dict[str, str]:
    text = node.on(f"cd /videos/cameras/{camera} && sha256sum 2*/*.mp4")
    return {name: digest for digest, name in (line.split() for line in text.splitlines())}


def test_a_node_whose_clock_jumps(watched: Site) -> None:
    """An hour forwards, back, back into a time that was recorded already, and over a change of summer time."""
    node = watched.node
    node.on("apt-get install -y -qq libfaketime >/dev/null")
    unit = "shoal-recorder@dock.service"
    node.on(f"echo +0 > {CLOCK}; mkdir -p /etc/systemd/system/{unit}.d {SITE}")
    node.on(f"echo '{SLEEP}' > {SITE}/sitecustomize.py")
    node.on(f"cat > /etc/systemd/system/{unit}.d/clock.conf <<'END'\n{DROP_IN}END\nsystemctl daemon-reload")
    node.on(f"systemctl restart {unit}")
    try:
        began, before = time.monotonic(), node.account("dock")
        node.recorded_again("dock")
        change = datetime(2026, 10, 25, 1, 0, tzinfo=UTC).timestamp()
        for to in ("+3600", "+0", "-30", "change", "+0"):
            there = hashes(node, "dock")
            to_s = f"{change - time.time() - 3 * SEGMENT_S:+.0f}" if to == "change" else to
            node.on(f"echo {to_s} > {CLOCK}")
            account = node.recorded_again("dock", files=5)
            now = hashes(node, "dock")
            assert {name: now.get(name) for name in there} == there, "no film is written over"
        lived_s = time.monotonic() - began
    finally:
        node.on(f"rm -r /etc/systemd/system/{unit}.d {CLOCK} {SITE}; systemctl daemon-reload; systemctl restart {unit}")
    gaps, films = account.gaps[len(before.gaps) :], account.films[len(before.films) :]
    assert {gap.reason for gap in gaps} <= {"clock_changed", "stopped", "killed"}, gaps
    jumps = [gap.end - gap.start for gap in gaps if gap.reason == "clock_changed"]
    assert any(3600 <= jump < 3660 for jump in jumps)  # what it jumped over; back, the seconds without film alone
    assert all(jump < 60 or jump >= 3600 for jump in jumps)
    # In summer time's change there is film on both sides, in names that go on.
    around = [film for film in films if abs(film.start - change) < 10 * SEGMENT_S]
    assert min(film.start for film in around) < change < max(film.start for film in around)
    starts = [film.start for film in around]
    assert starts == sorted(starts)
    assert all(abs(other.start - one.end) < JOINT_S for one, other in pairwise(around))
    assert all(f"{datetime.fromtimestamp(film.start, UTC):%Y-%m-%d}" == film.file[:10] for film in films)
    # By the time that went by: what was not filmed and is not a clock's step are the seconds between two lives.
    filmed_s = sum(film.end - film.start for film in films)
    assert filmed_s > 0.6 * lived_s
    node.readable("dock", [film.file for film in films])


def test_a_disk_that_is_slow(watched: Site) -> None:
    """It takes a file more slowly than the camera makes it; film goes on, and the status names the disk.

    The recorder's fsync() is what waits: the first version of control groups slows down no write through the cache.
    """
    node, unit = watched.node, "shoal-recorder@north.service"
    wait = f"select.select([], [], [], {SEGMENT_S / 2})"
    slow = f"import os, select; sync = os.fsync; os.fsync = lambda of: ({wait}, sync(of))"
    node.on(f"mkdir -p {SITE} /etc/systemd/system/{unit}.d; echo '{slow}' > {SITE}/sitecustomize.py")
    node.on(f"printf '[Service]\\nEnvironment=PYTHONPATH={SITE}\\n' > /etc/systemd/system/{unit}.d/slow.conf")
    began_s = node.recorded_again("north").films[-1].start
    try:
        node.on(f"systemctl daemon-reload; systemctl restart {unit}")
        until(lambda: "is slow" in " ".join(node.status()[1]["north"]["alarms"]), "the status names it", 240)
        node.recorded_again("north")
    finally:
        node.on(f"rm -r {SITE} /etc/systemd/system/{unit}.d; systemctl daemon-reload; systemctl restart {unit}")
    account = node.recorded_again("north", files=3)
    assert node.accounted("north", began_s) <= {"stopped", "killed"}
    node.readable("north", [film.file for film in account.films if film.end > began_s])
    until(lambda: "is slow" not in " ".join(node.status()[1]["north"]["alarms"]), "it is slow no more")


def test_the_watch_looks_at_all_of_it_and_its_events_arrive(watched: Site) -> None:
    """After all that was done to the cameras above, or to none of them."""
    node = watched.node
    for camera in ("north", "gate", "dock"):
        node.recorded_again(camera)
        node.watched_well(camera)
    until(lambda: node.account("north").published, "there are events", 300)


def test_two_cameras_of_one_name_are_refused(watched: Site, tmp_path: Path) -> None:
    raw = json.loads(watched.node.document.read_text())
    (node,) = [one for one in raw["nodes"] if one.get("cameras")]
    node["cameras"].append(node["cameras"][0])
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(raw))
    for words in (("site", "deploy"), ("watch", "on"), ("watch", "status")):
        command = [sys.executable, "-m", "shoal", *words, "--cluster", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository())
        assert done.returncode == 2
        assert "the same camera name as" in done.stderr
        assert "Traceback" not in done.stderr
