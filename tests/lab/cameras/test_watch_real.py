"""A node watches two RTSP cameras from `shoal watch on` to `shoal watch off`, through a power cut, with all defaults of
the recorder: files of a minute."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab_under_test import Lab
from live_cameras import Camera, as_a_camera_has_it, until

from shoal.cluster import document as clusters
from shoal.cluster import reach as reaches
from shoal.deploys.run import DeployResult, run_deploy
from shoal.paths import repository
from shoal.site import document as site
from shoal.site import event_rules
from shoal.site import sample_clips as samples
from shoal.site.outbox import SiteOutbox
from shoal.telling import to_stderr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2400)]

NODE = "compute-1"
STORE = "/srv/store"
STATE = "/var/lib/shoal/watch"
CLIPS = {"north": "cam08-traffic.mp4", "gate": "cam00-campus.mp4"}
SETTINGS = ("--img", "320", "--stride", "6", "--stride-most", "12", "--privacy", "off")
"""Little work: two processors keep up beside other work, though all of it comes into clips."""
RULES = """
quiet_s = 4
longest_s = 15
roll_before_s = 1
roll_after_s = 1

[[rule]]
name = "people"
severity = "alert"
classes = ["person"]

[[rule]]
name = "vehicles"
severity = "record"
classes = ["car", "truck", "bus"]
"""


@dataclass
class Site:
    """The lab with its cameras."""

    lab: Lab
    document: Path

    @property
    def machine(self) -> str:
        return f"shoal-{self.lab.name}-{NODE}"

    def on(self, script: str) -> str:
        """A root shell on the node, through the lab's engine."""
        command = ["docker", "exec", self.machine, "sh", "-c", script]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def lines(self, path: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.on(f"cat {path} 2>/dev/null || true").splitlines()]

    def ledger(self, camera: str) -> list[dict[str, Any]]:
        return self.lines(f"{STATE}/cameras/{camera}/ledger.jsonl")

    def events(self) -> list[str]:
        """Ids of all events that the watch made, as often as it did."""
        return sorted(one["id"] for camera in CLIPS for one in self.lines(f"{STATE}/cameras/{camera}/told.jsonl"))

    def recorded(self, camera: str, what: str) -> list[dict[str, Any]]:
        return self.lines(f"/var/lib/shoal/recorder/{camera}/{what}.jsonl")

    def stored(self) -> list[str]:
        """Ids of the events whose documents lie in the store, as often as they do."""
        names = self.on(f"find {STORE} -name '*.json' | sort").split()
        return [name.rpartition("/")[2].partition(".")[0] for name in names]

    def unit(self) -> str:
        return self.on("systemctl is-active shoal-watch.service || true").strip()

    def deploy(self, what: str) -> DeployResult:
        return run_deploy(reaches.load(self.document), what, say=to_stderr, timeout_s=1200)

    def shoal(self, *words: str) -> tuple[int, dict[str, Any]]:
        """A command of `shoal watch`: its exit code and its JSON."""
        command = [sys.executable, "-m", "shoal", "watch", *words, "--json", "--cluster", str(self.document)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository())
        to_stderr(done.stderr)
        return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def watched(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node with engine, image, model, outbox and two cameras that nobody watches yet."""
    folder = tmp_path_factory.mktemp("cameras")
    clips = {clip.name: clip.path for clip in samples.sample_clips()}
    cameras = []
    for number, (name, clip) in enumerate(CLIPS.items()):
        as_a_camera_has_it(clips[clip], folder / f"{name}.mp4")
        cameras.append(Camera(name, folder, lab.facts.gateway, 18600 + 10 * number))
    try:
        for camera in cameras:
            camera.start()
        yield from _site(lab, folder, cameras)
    finally:
        for camera in cameras:
            camera.stop()


def _site(lab: Lab, folder: Path, cameras: list[Camera]) -> Iterator[Site]:
    raw = json.loads(lab.document.read_text())
    for node in raw["nodes"]:
        if node["name"] == NODE:
            node["cameras"] = [{"name": one.name, "source": one.source} for one in cameras]
    path = folder / "cluster.json"
    cluster = clusters.parse(raw, source="the test")
    clusters.save(cluster, path)
    rules = folder / "rules.toml"
    rules.write_text(RULES)
    made = Site(lab, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOAL_SITE", str(folder / "site.json"))
        site.prepare(cluster, with_videos=False, events=event_rules.read(rules), say=to_stderr)
        site.set_outbox(cluster.name, SiteOutbox(to=f"folder:{STORE}", disk_floor_bytes=1_000_000))
        made.on(f"mkdir -p {STORE} && chmod 777 {STORE}")
        made.deploy(str(Path(__file__).with_name("watch_alone.py")))
        yield made


def all_accounted(site: Site, camera: str) -> None:
    """From its first file to its last a camera's time is in a file or in a gap."""
    spans = sorted((one["start"], one["end"]) for what in ("segments", "gaps") for one in site.recorded(camera, what))
    until_s = spans[0][1]
    for start_s, end_s in spans[1:]:
        assert start_s - until_s <= 2.5, f"{camera}: nothing is known of {start_s - until_s:.1f} s"
        until_s = max(until_s, end_s)


def test_watched_from_on_to_off_through_a_power_cut(watched: Site) -> None:
    assert watched.unit() == "inactive"
    code, done = watched.shoal("on", *SETTINGS)
    assert (code, done["watching"][NODE]) == (0, list(CLIPS))
    assert watched.unit() == "active"

    for camera in CLIPS:
        until(lambda camera=camera: len(watched.ledger(camera)) >= 2, f"two files of {camera} are looked at", 300)
    until(watched.events, "there are events", 120)
    until(lambda: set(watched.events()) <= set(watched.stored()), "they arrive in the store", 120)
    assert all(not line["fault"] for camera in CLIPS for line in watched.ledger(camera))

    code, answer = watched.shoal("status")
    to_stderr(json.dumps(answer, indent=1))
    assert (code, answer["silent"]) == (0, {})
    cameras = {one["camera"]: one for one in answer["cameras"]}
    assert set(cameras) == set(CLIPS)
    for name, one in cameras.items():
        assert (one["node"], one["recording"], one["alarms"]) == (NODE, "yes", [])
        assert one["last_segment"] in {line["file"] for line in watched.recorded(name, "segments")}
        assert one["lag_s"] >= 0
        assert one["gaps"] == 0
        assert one["disk_days_left"] > 0
    assert sum(one["events"] for one in cameras.values()) <= len(watched.events())

    second = watched.deploy("watch")
    assert [entry.name for entry in second.operations if entry.changed] == []

    before = {camera: watched.ledger(camera) for camera in CLIPS}
    told = watched.events()
    subprocess.run(["docker", "kill", watched.machine], check=True, capture_output=True)
    time.sleep(5)  # without power
    subprocess.run(["docker", "start", watched.machine], check=True, capture_output=True)
    for camera in CLIPS:
        until(
            lambda camera=camera: len(watched.ledger(camera)) >= len(before[camera]) + 3,
            f"{camera} is watched again by itself",
            420,
        )
    for camera in CLIPS:
        ledger = watched.ledger(camera)
        assert ledger[: len(before[camera])] == before[camera]
        assert len({line["segment"] for line in ledger}) == len(ledger)
        assert watched.recorded(camera, "gaps")[-1]["reason"] == "killed"
        all_accounted(watched, camera)
        lags = ", ".join(f"{line['lag_s']:.1f}" for line in ledger)
        to_stderr(f"{camera}: {len(ledger)} files, lags {lags} s")
    until(lambda: len(watched.events()) > len(told), "there are new events", 120)
    until(lambda: set(watched.events()) <= set(watched.stored()), "they arrive in the store", 120)
    assert set(told) < set(watched.events())
    for ids in (watched.events(), watched.stored()):
        assert len(ids) == len(set(ids))

    code, done = watched.shoal("off")
    assert (code, done) == (0, {"watching": {}})
    assert watched.unit() == "inactive"
    assert watched.on("docker ps --all --quiet --filter label=shoal.watch") == ""
    assert watched.on("systemctl is-active shoal-recorder@north.service").strip() == "active"
    code, answer = watched.shoal("status")
    assert {one["recording"] for one in answer["cameras"]} == {"yes"}


def test_torn_down_nothing_of_it_runs_and_its_events_stay(watched: Site) -> None:
    code, _ = watched.shoal("on", *SETTINGS)
    assert code == 0
    assert watched.unit() == "active"
    until(watched.events, "there are events", 420)
    events = watched.on(f"ls {STATE}/events").split()
    result = watched.deploy("teardown")
    assert any("events of the watch" in what for _, what in result.left)
    assert watched.unit() == "inactive"
    script = "ls -d /etc/shoal /usr/local/lib/shoal /etc/systemd/system/shoal-* 2>/dev/null || true"
    assert watched.on(script) == ""
    assert set(events) <= set(watched.on(f"ls {STATE}/events").split())
