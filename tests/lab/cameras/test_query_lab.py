"""The archive asked beside a running watch: both finish, and the watch keeps its lag; over ssh and on the real engine.

Two nodes with two cameras each are watched all the time. On the engine only where its program is named
(SHOAL_BACALHAU_BINARY).
"""

from __future__ import annotations

import json
import os
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
from watched_lab import NAME, WATCH, Watched, brought_up, eventually

from shoal.paths import cluster_document
from shoal.site import weights
from shoal.telling import to_stderr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2400)]

BINARY = os.environ.get("SHOAL_BACALHAU_BINARY")
REPOSITORY = Path(__file__).resolve().parents[3]
BEHIND_S = 180.0
"""From when on the watch looks at less."""
FILES = 3
"""Of each camera, before anything is asked."""


@dataclass
class Asked:
    """The lab, and a folder of its own for what comes home."""

    lab: Watched
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

    def strides(self) -> set[int]:
        """Of every file that the watches looked at."""
        files = "/var/lib/shoal/watch/cameras/*/ledger.jsonl"
        return {line["stride"] for node in self.lab.cluster.compute for line in self.lab.lines(node.name, files)}

    def containers(self) -> list[str]:
        """Of runs, on all nodes."""
        script = "docker ps --all --quiet --filter label=shoal.run"
        return [one for node in self.lab.cluster.compute for one in self.lab.on(node.name, script).split()]


@pytest.fixture(scope="module")
def asked(lab_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    for lab in brought_up():
        enough = lambda lab=lab: all(len(one.looked) >= FILES for one in lab.accounts().values())  # noqa: E731
        eventually(enough, "the first files", 600)
        yield Asked(lab, tmp_path_factory.mktemp("asked"))


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
        return all(any(line.closed_s > began_s for line in one.looked) for one in asked.lab.accounts().values())

    eventually(looked_at_since, "a file of every camera that came meanwhile", 240)
    lags = sorted(line.lag_s for one in asked.lab.accounts().values() for line in one.looked if line.closed_s > began_s)
    to_stderr(
        f"{engine}: {took_s:.0f} s; {len(lags)} files of the watch meanwhile, lag median "
        f"{lags[len(lags) // 2]:.1f} s, p95 {lags[int(len(lags) * 0.95)]:.1f} s, most {lags[-1]:.1f} s"
    )
    assert lags[-1] < BEHIND_S
    assert asked.strides() == {WATCH.stride}
    assert asked.containers() == []


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
    asked.lab.on("compute-1", "systemctl stop shoal-recorder@compute-1-b")
    try:
        stopped_s = int(time.time()) + 1
        eventually(lambda: time.time() > stopped_s, "a whole second", 10, every_s=0.2)
        since = datetime.fromtimestamp(stopped_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        done = asked.shoal("run", "--engine", "ssh", "--cameras", "compute-1-b", "--since", since)
        assert done.returncode == 1
        assert "nothing was started" in done.stderr
        assert f"compute-1: there is no footage of compute-1-b since {since} under /videos" in done.stderr
        assert asked.containers() == []
        # Beside a camera that has some, it is named and the rest is answered.
        words = ["--cameras", "compute-1-a,compute-1-b", "--since", since, "--stride", "10", "--img", "320"]

        def film_of_the_other() -> bool:
            return any(film.end > stopped_s for film in asked.lab.accounts()["compute-1-a"].films)

        eventually(film_of_the_other, "film of the other camera", 150)
        done = asked.shoal("run", "--engine", "ssh", *words)
        assert done.returncode == 0, done.stderr
        assert f"no footage of compute-1-b since {since}" in done.stderr
    finally:
        asked.lab.on("compute-1", "systemctl start shoal-recorder@compute-1-b")
