"""The archive asked beside a running watch: both finish, and the watch keeps its lag; over ssh and on the real engine.

Two nodes with two cameras each are watched all the time. On the engine only where its program is named
(SHOAL_BACALHAU_BINARY).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import pytest
from live_cameras import until

from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster
from shoal.demo import live
from shoal.deploys.run import run_deploy
from shoal.engines import choice as engines
from shoal.engines.bacalhau import release
from shoal.lab import state
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.lab.status import container_of
from shoal.lab.up import up
from shoal.paths import cluster_document
from shoal.site import camera_films, weights
from shoal.site import document as site
from shoal.site.watch import SiteWatch
from shoal.telling import to_stderr
from shoal.watch import account as records
from shoal.watch.account import Account

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2400)]

NAME = os.environ.get("SHOAL_TEST_LAB", "querytest")
BINARY = os.environ.get("SHOAL_BACALHAU_BINARY")
REPOSITORY = Path(__file__).resolve().parents[3]
WATCH = SiteWatch(img=320, stride=5, stride_most=20)
BEHIND_S = 180.0
"""From when on the watch looks at less."""
FILES = 3
"""Of each camera, before anything is asked."""


@dataclass
class Asked:
    """The lab, and a folder of its own for what comes home."""

    cluster: Cluster
    home: Path

    def shoal(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shoal", *words],
            cwd=self.home, text=True, stdin=subprocess.DEVNULL, capture_output=True, check=False,
            env={
                **os.environ,
                "PYTHONPATH": str(REPOSITORY),
                "SHOAL_RUNS": str(self.home / "runs"),
                "SHOAL_CLUSTER": str(cluster_document(NAME)),
            },
        )  # fmt: skip

    def on(self, machine: str, script: str) -> str:
        """A root shell on a machine, through the lab's engine."""
        code, output = container_of(NAME, machine).exec_run(["sh", "-c", script])
        assert code == 0, output
        return bytes(output).decode()

    def accounts(self) -> dict[str, Account]:
        return {one.camera: one for node in self.cluster.compute for one in records.accounts(self.cluster, node)}

    def strides(self) -> set[int]:
        """Of every file that the watches looked at."""
        lines = [
            line
            for node in self.cluster.compute
            for line in self.on(node.name, "cat /var/lib/shoal/watch/cameras/*/ledger.jsonl").splitlines()
        ]
        return {json.loads(line)["stride"] for line in lines}


@pytest.fixture(scope="module")
def asked(lab_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    existed = state.load_facts(NAME) is not None
    cluster = up(LabSpec(name=NAME, compute=2, cameras=2), films=lambda: camera_films.films(say=to_stderr))
    if site.load(cluster.name) is None:
        site.prepare(cluster, with_videos=False, events=live.RULES, say=to_stderr)
    site.set_watch(cluster.name, WATCH)
    cached = release.noted(release.this_machine())
    added = release.add(Path(BINARY)) if BINARY else None
    choice = engines.choose("bacalhau" if BINARY else "ssh", cluster)
    run_deploy(reaches.made(cluster_document(NAME), cluster), "site", engine=choice, say=to_stderr, timeout_s=1800)
    made = Asked(cluster, tmp_path_factory.mktemp("asked"))
    until(lambda: all(len(one.looked) >= FILES for one in made.accounts().values()), "the first files", 600)
    yield made
    if not existed:
        assert down(NAME).clean
    if added is not None and cached is None:
        # The cache is the user's own: what was not in it is not left in it.
        shutil.rmtree(added.path.parent, ignore_errors=True)


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YOLOv5s as another file: what a model is, its hash says."""
    model = onnx.load(weights.yolov5s().path)
    model.producer_name = "another export"
    path = tmp_path_factory.mktemp("model") / "other.onnx"
    onnx.save(model, path)
    return path


NEEDS_PROGRAM = pytest.mark.skipif(not BINARY, reason="SHOAL_BACALHAU_BINARY is not set")
ENGINES = ["ssh", pytest.param("bacalhau", marks=NEEDS_PROGRAM)]
SUBSET = {"compute-1": {"compute-1-a"}, "compute-2": {"compute-2-b"}}


@pytest.mark.parametrize("engine", ENGINES)
def test_both_finish_and_the_watch_keeps_its_lag(asked: Asked, other_weights: Path, engine: str) -> None:
    began_s = time.time()
    run = f"{engine}-{int(began_s)}"
    done = asked.shoal(
        "run", "--engine", engine, "--run", run, "--since", f"{FILES}m", "--cameras", "compute-1-a,compute-2-b",
        "--classes", "person,car", "--weights", str(other_weights), "--json",
    )  # fmt: skip
    took_s = time.time() - began_s
    to_stderr(done.stderr)
    assert done.returncode == 0
    record: dict[str, Any] = json.loads(done.stdout)
    assert (record["engine"], record["weights"]["name"]) == (engine, "other")
    assert {name: node["outcome"] for name, node in record["nodes"].items()} == dict.fromkeys(SUBSET, "finished")
    assert all(node["fetched"] and len(node["attempts"]) == 1 for node in record["nodes"].values())

    events: list[dict[str, Any]] = []
    for node, cameras in SUBSET.items():
        folder = asked.home / "runs" / run / node
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["weights"]["sha256"] == record["weights"]["sha256"]
        assert (summary["settings"]["classes"], summary["settings"]["reuse"]) == (["person", "car"], "on")
        assert {video["video"].split("/")[1] for video in summary["videos"]} == cameras
        assert len(summary["videos"]) >= FILES - 1
        assert all(began(video["video"]) > began_s - 60 * (FILES + 2) for video in summary["videos"])
        events += [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert events
    assert {event["clip"]["reason"] for event in events} == {"the run asked for none"}
    report = asked.shoal("report", run)
    assert report.returncode == 0, report.stderr
    assert (asked.home / "runs" / run / "report.html").is_file()

    def looked_at_since() -> bool:
        return all(any(line.closed_s > began_s for line in one.looked) for one in asked.accounts().values())

    until(looked_at_since, "a file of every camera that came meanwhile", 240)
    lags = sorted(line.lag_s for one in asked.accounts().values() for line in one.looked if line.closed_s > began_s)
    to_stderr(
        f"{engine}: {took_s:.0f} s; {len(lags)} files of the watch meanwhile, lag median "
        f"{lags[len(lags) // 2]:.1f} s, p95 {lags[int(len(lags) * 0.95)]:.1f} s, most {lags[-1]:.1f} s"
    )
    assert lags[-1] < BEHIND_S
    assert asked.strides() == {WATCH.stride}
    for node in asked.cluster.compute:
        assert asked.on(node.name, "docker ps --all --quiet --filter label=shoal.run") == ""


def began(name: str) -> float:
    """Seconds since 1970 at which a file was opened."""
    stem = name.rpartition("/")[2].removesuffix(".mp4")
    return datetime.strptime(stem, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--cameras", "compute-1-a,nobody"], 2, "no camera called nobody"),
        (["--classes", "bycicle"], 2, "did you mean bicycle"),
        (["--since", "lately"], 2, "a day, a time (UTC) or 90m, 12h, 7d is wanted"),
        (["--since", "2999-01-01"], 2, "is yet to come"),
        (["--cameras", "compute-1-a", "--node", "compute-2"], 2, "has none of the cameras compute-1-a"),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_question_that_cannot_be_answered_is_refused_with_its_reason(
    asked: Asked, engine: str, words: list[str], code: int, says: str
) -> None:
    given = words if "--since" in words else [*words, "--since", "3m"]
    done = asked.shoal("run", "--engine", engine, *given)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_time_without_footage_is_said_and_nothing_is_started(asked: Asked) -> None:
    asked.on("compute-1", "systemctl stop shoal-recorder@compute-1-b")
    try:
        stopped_s = int(time.time()) + 1
        until(lambda: time.time() > stopped_s, "a whole second", 10)
        since = datetime.fromtimestamp(stopped_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        done = asked.shoal("run", "--engine", "ssh", "--cameras", "compute-1-b", "--since", since)
        assert done.returncode == 1
        assert "nothing was started" in done.stderr
        assert f"compute-1: there is no footage of compute-1-b since {since} under /videos" in done.stderr
        assert asked.on("compute-1", "docker ps --all --quiet --filter label=shoal.run") == ""
        # Beside a camera that has some, it is named and the rest is answered.
        words = ["--cameras", "compute-1-a,compute-1-b", "--since", since, "--stride", "10", "--img", "320"]

        def film_of_the_other() -> bool:
            return any(film.end > stopped_s for film in asked.accounts()["compute-1-a"].films)

        until(film_of_the_other, "film of the other camera", 150)
        done = asked.shoal("run", "--engine", "ssh", *words)
        assert done.returncode == 0, done.stderr
        assert f"no footage of compute-1-b since {since}" in done.stderr
    finally:
        asked.on("compute-1", "systemctl start shoal-recorder@compute-1-b")
