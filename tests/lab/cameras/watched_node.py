"""A node of the lab that records and watches cameras of a test, deployed as a person deploys it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab_under_test import Lab
from live_cameras import until

from shoal.cluster import document as clusters
from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster
from shoal.deploys.run import DeployResult, run_deploy
from shoal.paths import repository
from shoal.site import document as site
from shoal.site.event_rules import EventRules, Rule
from shoal.site.outbox import SiteOutbox
from shoal.site.watch import SiteWatch
from shoal.telling import to_stderr
from shoal.watch import account as records
from shoal.watch.account import Account

NODE = "compute-1"
STORE = "/srv/store"
RECORDER, WATCH = "/var/lib/shoal/recorder", "/var/lib/shoal/watch"
SEGMENT_S = 6
DATA = {"recorder_segment_s": SEGMENT_S, "recorder_silence_s": 4, "recorder_disk_floor_bytes": 1_000_000}
RULES = EventRules(
    quiet_s=4.0,
    longest_s=15.0,
    roll_before_s=1.0,
    roll_after_s=1.0,
    rule=(
        Rule(name="people", severity="alert", classes=("person", "bicycle")),
        Rule(name="vehicles", severity="record", classes=("car", "truck", "bus")),
    ),
)
SETTINGS = SiteWatch(img=320, stride=5, stride_most=20, privacy="off")
"""Little work: two processors keep up beside other work."""


@dataclass
class WatchedNode:
    """The node and what is known of it."""

    lab: Lab
    document: Path
    cluster: Cluster

    @property
    def machine(self) -> str:
        return f"shoal-{self.lab.name}-{NODE}"

    def on(self, script: str, *, check: bool = True) -> str:
        """A root shell on the node, through the lab's engine."""
        command = ["docker", "exec", self.machine, "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def deploy(self) -> DeployResult:
        return run_deploy(reaches.made(self.document, self.cluster), "site", data=DATA, say=to_stderr, timeout_s=1800)

    def account(self, camera: str) -> Account:
        found = {one.camera: one for one in records.accounts(self.cluster, self.cluster.node(NODE))}
        return found[camera]

    def now(self, camera: str) -> dict[str, Any]:
        """What the recorder remembers."""
        found: dict[str, Any] = json.loads(self.on(f"cat {RECORDER}/{camera}/now.json 2>/dev/null || echo {{}}"))
        return found

    def status(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """`shoal watch status`: its exit code, and what it says by camera."""
        command = [sys.executable, "-m", "shoal", "watch", "status", "--json", "--cluster", str(self.document)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository())
        answer = json.loads(done.stdout)
        assert answer["silent"] == {}, done.stderr
        return done.returncode, {one["camera"]: one for one in answer["cameras"]}

    def journal(self, unit: str, since_s: float = 0) -> str:
        return self.on(f"journalctl --no-pager -u '{unit}' --since=@{int(since_s)}")

    def recorded_again(self, camera: str, files: int = 2, limit_s: float = 180) -> Account:
        """The account, when so many files more are there."""
        before = self.account(camera)

        def more() -> bool:
            return len(self.account(camera).films) >= len(before.films) + files

        until(more, f"{camera} is recorded (again): {self.now(camera)}", limit_s)
        return self.account(camera)

    def looked(self, camera: str, limit_s: float = 300) -> Account:
        """The account, when the watch has looked at all film that is there by now."""
        films = {one.file for one in self.account(camera).films}
        until(lambda: not films & set(self.account(camera).waiting()), f"all of {camera} is looked at", limit_s)
        return self.account(camera)

    def shipped(self, camera: str) -> None:
        """All events of a camera are in the store, each once."""
        wanted = self.account(camera).published
        assert len(wanted) == len(set(wanted))

        def stored() -> list[str]:
            names = self.on(f"find {STORE} -name '*.json'").split()
            return [name.rpartition("/")[2].partition(".")[0] for name in names]

        until(lambda: set(wanted) <= set(stored()), "all events arrive", 300)
        assert len(stored()) == len(set(stored()))

    def watched_well(self, camera: str) -> None:
        """All film is looked at, once and without a fault, and its events arrive, each once."""
        assert self.looked(camera).looked_at_twice() == []
        lines = [json.loads(line) for line in self.on(f"cat {WATCH}/cameras/{camera}/ledger.jsonl").splitlines()]
        assert [line for line in lines if line["fault"]] == []
        assert all(line["seconds"] < 3 * SEGMENT_S for line in lines)
        self.shipped(camera)

    def accounted(self, camera: str, from_s: float) -> set[str]:
        """Nothing is unknown between a time and the end of the last film; the reasons of the gaps."""
        account = self.account(camera)
        assert account.unaccounted_s(from_s, account.films[-1].end) == 0, (account.films, account.gaps)
        return {gap.reason for gap in account.gaps if gap.end > from_s}

    def restarts(self, unit: str) -> int:
        """How often systemd started a unit again."""
        return int(self.on(f"systemctl show -p NRestarts --value '{unit}'"))

    def readable(self, camera: str, files: Sequence[str]) -> list[tuple[int, int]]:
        """Width and height of every one of the files; each is read to its end without a fault."""
        found = []
        probe = "ffprobe -v error -select_streams v -count_frames -show_entries stream=width,height,nb_read_frames"
        for file in files:
            width, height, frames = self.on(f"{probe} -of csv=p=0 /videos/cameras/{camera}/{file}").strip().split(",")
            assert int(frames) > 0
            found.append((int(width), int(height)))
        return found


@contextmanager
def watched_node(
    lab: Lab, folder: Path, cameras: Sequence[dict[str, Any]], before: Callable[[WatchedNode], object] = lambda _: None
) -> Iterator[WatchedNode]:
    """The lab's first compute node with these cameras: recorded, watched, its events shipped into a folder of its.

    `before` is done before the deploy.
    """
    raw = json.loads(lab.document.read_text())
    for node in raw["nodes"]:
        node.pop("cameras", None)
        if node["name"] == NODE:
            node["cameras"] = list(cameras)
    path = folder / "cluster.json"
    cluster = clusters.parse(raw, source="the test")
    clusters.save(cluster, path)
    made = WatchedNode(lab, path, cluster)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOAL_SITE", str(folder / "site.json"))
        site.prepare(cluster, with_videos=False, events=RULES, say=to_stderr)
        site.set_outbox(cluster.name, SiteOutbox(to=f"folder:{STORE}", disk_floor_bytes=1_000_000))
        site.set_watch(cluster.name, SETTINGS)
        made.on(f"mkdir -p {STORE} && chmod 777 {STORE}")
        before(made)
        began_s = time.monotonic()
        made.deploy()
        to_stderr(f"deployed in {time.monotonic() - began_s:.0f} s")
        yield made
