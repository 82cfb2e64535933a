"""The demo as a user types it: killed with -9 in every stage and typed again, and from a clean checkout."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from shoal.lab import names
from shoal.lab.down import down
from shoal.paths import state_dir
from shoal.site.document import document_path

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "demotest"
# Small: what is tested is the path, not the model.
QUICK = ["--name", NAME, "--yes", "--stride", "20", "--img", "320"]

# A line of each stage; the process is killed as soon as it says it.
STAGES = {
    "engine": r"^demo: 1/5",
    "machines": r"^lab: requester created",
    "artefacts": r"^demo: 3/5",
    "deploy begins": r"^demo: 4/5",
    "docker is being installed": r"docker \| Configure the engine: changed",
    "image is being made": r"yolov5 \| Get the base of the image: changed",
    "run begins": r"^run \S+ on 2 nodes",
    "videos in hand": r"video \d/6 .* done",
    "results come home": r"results home",
}


@dataclass
class Demo:
    folder: Path

    @property
    def runs(self) -> list[dict[str, object]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("runs/*/run.json"))]

    def shoal(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shoal", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def until(self, pattern: str) -> str:
        """Starts the demo and kills it with -9 at the first line that matches; gives what it had said."""
        process = subprocess.Popen(
            [sys.executable, "-m", "shoal", "demo", *QUICK],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if re.search(pattern, line):
                process.send_signal(signal.SIGKILL)
                break
        # Its children (pyinfra, ssh) may hold the pipe; what they still do, they do to a world without the demo.
        process.stderr.close()
        assert process.wait(timeout=60) == -signal.SIGKILL, said
        return said


@pytest.fixture(scope="module")
def demo(lab_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    down(NAME)
    yield Demo(tmp_path_factory.mktemp("demo"))
    result = down(NAME)
    assert result.clean, result.proofs


@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_a_stage_and_typed_again(demo: Demo, stage: str) -> None:
    """Each demo begins on what the killed ones before left behind, and must get past it to the next stage."""
    demo.until(STAGES[stage])


def test_then_it_completes_from_a_clean_checkout(demo: Demo) -> None:
    """`./just demo` in a fresh clone: the launcher makes its environment, the lab is re-used, the run is whole."""
    clone = demo.folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
    environment = {key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    done = subprocess.run(
        ["./just", "demo", *QUICK],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "just: making the environment .venv" in done.stderr
    records = [json.loads(path.read_text()) for path in clone.glob("runs/*/run.json")]
    assert len(records) == 1
    nodes = records[0]["nodes"]
    assert {name: node["outcome"] for name, node in nodes.items()} == {"compute-1": "finished", "compute-2": "finished"}
    assert all(node["fetched"]["files"] > 0 for node in nodes.values())
    page = next(clone.glob("runs/*/report.html")).read_text()
    assert "cam00-campus.mp4" in page
    assert str(next(clone.glob("runs/*/report.html"))) in done.stdout
    for node in nodes:
        videos = json.loads(next(clone.glob(f"runs/*/{node}/summary.json")).read_text())["videos"]
        assert len(videos) == 6
        assert all(video["detections"] > 0 for video in videos), "every clip shows something"


def test_typed_once_more_it_changes_nothing_on_the_machines(demo: Demo) -> None:
    done = demo.shoal("demo", *QUICK, "--timings", str(demo.folder / "times.json"))
    assert done.returncode == 0, done.stderr[-4000:]
    assert "demo: 0 operations changed something" in done.stderr
    assert "created at" not in done.stderr
    stages = json.loads((demo.folder / "times.json").read_text())["stages"]
    assert list(stages) == ["engine", "machines", "artefacts", "deploy", "run", "report"]
    assert all(seconds >= 0 for seconds in stages.values())


def test_a_run_that_was_killed_is_finished_by_resume(demo: Demo) -> None:
    """The demo killed while results came home left a run that says so, and that `shoal resume` makes whole."""
    unfinished = [run for run in demo.runs if any(not node["fetched"] for node in run["nodes"].values())]
    assert unfinished, "at least one of the kills was in mid-run"
    run = str(unfinished[-1]["run"])
    done = demo.shoal("resume", run, "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    record = json.loads(done.stdout)
    assert all(node["outcome"] == "finished" and node["fetched"] for node in record["nodes"].values())


def test_demo_down_leaves_nothing_and_proves_it(demo: Demo) -> None:
    assert document_path(NAME).exists()
    done = demo.shoal("demo-down", "--name", NAME, "--keep-cache", "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads(done.stdout)
    assert said["clean"] is True
    assert {"containers", "volumes", "networks", "files", "documents, tokens and locks"} <= {
        proof["what"] for proof in said["proofs"]
    }
    # Looked for by other means than its own.
    client = docker.DockerClient(base_url=os.environ["DOCKER_HOST"])
    mine = names.lab_filter(NAME)
    assert client.containers.list(all=True, filters=mine) == []
    assert client.volumes.list(filters=mine) == []
    assert client.networks.list(filters=mine) == []
    assert [path for path in state_dir().rglob("*") if NAME in path.name] == []
    assert demo.runs, "results stay"
    again = demo.shoal("demo-down", "--name", NAME, "--keep-cache")
    assert again.returncode == 0, "nothing to remove is no failure"
