"""The second template: the makers' own image and detect.py, with the run's lock and manifest around it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from shoal import report
from shoal.cli.results import app as results_app
from shoal.errors import UsageError
from shoal.jobs import DEFAULT_IMAGES, Values, render, templates
from shoal.jobs.spec import JobSpec
from shoal.report import table
from shoal.results import record as runs
from shoal.results.documents import RunSummary, VideoSummary
from shoal.results.fetch import parse_manifest
from shoal.results.record import Fetched, Image, NodeRecord, Outcome, RunRecord, Weights


def rendered(**knobs: str | int | float) -> JobSpec:
    return render(
        "yolov5-upstream",
        Values(
            run="r1", attempt=1, image=DEFAULT_IMAGES["yolov5-upstream"], weights_name="yolov5x",
            weights_sha256="a" * 64, cpu="2", memory="4GB", timeout_s=3600, knobs=knobs,
        ),
    )  # fmt: skip


def test_it_is_one_of_the_templates() -> None:
    assert templates() == ["yolov5", "yolov5-upstream"]


def test_arguments_of_detect() -> None:
    job = rendered(conf=0.7, iou=0.5, classes="1, 2,3", img=1280, stride=2)
    params = job.task.engine.params
    assert params.image == "docker.io/ultralytics/yolov5:v7.0"
    words = " ".join(params.parameters)
    assert words.startswith(f"r1 --weights /weights/{'a' * 64}.onnx --dnn --source /videos --project /state ")
    assert words.endswith("--conf-thres 0.7 --iou-thres 0.5 --classes 1 2 3 --imgsz 1280 --vid-stride 2")
    assert job.task.network.type == "None"


@pytest.mark.parametrize(("knobs", "words"), [({"classes": "person"}, "takes numbers"), ({"max-det": 3}, "no setting")])
def test_what_detect_does_not_take_is_refused(knobs: dict[str, str | int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        rendered(**knobs)


CV2 = """
import json, pathlib
CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT, CAP_PROP_FPS, CAP_PROP_FRAME_COUNT = 3, 4, 5, 7
__version__ = "4"
class Image:
    shape = (48, 64, 3)
class VideoCapture:
    def __init__(self, path):
        text = pathlib.Path(path).read_text()
        self.facts = json.loads(text) if text.startswith("{") else {}
        self.left = self.facts.get("frames", 0)
    def get(self, which):
        return float({3: 64, 4: 48, 5: self.facts.get("fps", 0), 7: self.facts.get("frames", 0)}[which])
    def read(self):
        self.left -= 1
        return (True, Image) if self.left >= 0 else (False, None)
    def release(self):
        pass
def imwrite(path, image):
    pathlib.Path(path).write_bytes(b"picture")
"""
# As detect.py names and writes its results: it appends, and counts the frames that it looks at from 1.
DETECT = """
import json, pathlib
out = pathlib.Path.cwd().parent / "state" / "detect"
(out / "labels").mkdir(parents=True, exist_ok=True)
for path in sorted((pathlib.Path.cwd().parent / "videos").iterdir()):
    facts = path.read_text()
    if not facts.startswith("{"):
        continue
    facts = json.loads(facts)
    (out / (path.stem + ".mp4")).write_text(json.dumps({**facts, "frames": facts["frames"] // 2}))
    for number, lines in facts["labels"].items():
        with (out / "labels" / f"{path.stem}_{number}.txt").open("a") as stream:
            stream.write("".join(f"{line} 0.5 0.5 0.1 0.1 0.9\\n" for line in lines))
"""
GATE = {"frames": 20, "fps": 10, "labels": {"1": [0, 2], "7": [2], "10": [2, 2, 2]}}


@dataclass
class Machine:
    """Folders that stand for the container's, and a detect.py of the test's own in place of the image's."""

    root: Path

    def video(self, name: str, facts: dict[str, Any] | str) -> None:
        text = facts if isinstance(facts, str) else json.dumps(facts)
        (self.root / "videos" / name).write_text(text, encoding="utf-8")

    def run(self, detect: str = DETECT) -> subprocess.CompletedProcess[str]:
        (self.root / "app" / "detect.py").write_text(detect)
        task = rendered(stride=2).task.engine.params
        program = task.entrypoint[3]
        for path in ("/videos", "/state", "/usr/src/app"):
            assert f'Path("{path}")' in program
            place = self.root / {"/usr/src/app": "app"}.get(path, path[1:])
            program = program.replace(f'Path("{path}")', f"Path({str(place)!r})")
        name, _, value = task.environment_variables[0].partition("=")
        return subprocess.run(
            [sys.executable, "-c", program, *task.parameters], check=False, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(self.root / "lib"), name: value},
        )  # fmt: skip

    @property
    def state(self) -> Path:
        return self.root / "state"

    def document(self, path: str) -> Any:
        return json.loads((self.state / path).read_text())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for folder in ("app/data", "state", "videos", "lib"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "lib" / "cv2.py").write_text(CV2)
    (tmp_path / "app" / "data" / "coco128.yaml").write_text("names:\n  0: person\n  1: bicycle\n  2: car\n")
    return Machine(tmp_path)


def test_the_program_writes_what_results_and_the_report_take(machine: Machine) -> None:
    machine.video("gate one.MP4", GATE)
    machine.video("notes.txt", "no video")
    done = machine.run()
    assert done.returncode == 0, done.stderr
    manifest = parse_manifest((machine.state / "manifest.json").read_bytes(), source="test")
    assert manifest.run == "r1"
    summary = RunSummary.model_validate(machine.document("summary.json"))
    (video,) = summary.videos
    assert video == VideoSummary.model_validate(machine.document(f"videos/{video.video_id}/summary.json"))
    assert (video.video, video.frames, video.frames_inferred) == ("gate one.MP4", 20, 10)
    assert (video.detections, video.counts, video.frames_with) == (6, {"person": 1, "car": 5}, {"person": 1, "car": 3})
    # The first frame that was looked at is the second of the video, at 0.1 s; the tenth is at 1.9 s.
    assert [(moment.time_s, moment.counts) for moment in video.timeline] == [
        (0, {"person": 1, "car": 1}), (1, {"car": 4}),
    ]  # fmt: skip
    assert [(one.frame, one.detections) for one in video.key_frames] == [(1, 2), (13, 1), (19, 3)]
    listed = {entry.path for entry in manifest.files}
    assert {f"videos/{video.video_id}/{one.file}" for one in video.key_frames} <= listed
    assert {"detect/gate one.mp4", "detect/labels/gate one_10.txt", "summary.json"} <= listed
    assert (summary.weights.name, summary.weights.sha256) == ("yolov5x", "a" * 64)
    # Started again on a finished folder it does nothing.
    before = (machine.state / "manifest.json").read_bytes()
    assert machine.run("import sys; sys.exit(9)").returncode == 0
    assert (machine.state / "manifest.json").read_bytes() == before


def test_nothing_is_counted_twice_after_an_attempt_that_was_cut_off(machine: Machine) -> None:
    machine.video("a.mp4", GATE)
    assert machine.run(DETECT + "\nimport sys; sys.exit(7)\n").returncode == 7
    assert (machine.state / "detect" / "labels" / "a_10.txt").exists()
    assert not (machine.state / "manifest.json").exists()
    assert machine.run().returncode == 0
    assert machine.document("summary.json")["totals"]["detections"] == 6


def test_a_video_without_a_frame_is_told_as_faulty(machine: Machine) -> None:
    machine.video("a.mp4", GATE)
    machine.video("b.mp4", "damaged")
    assert machine.run().returncode == 3
    assert machine.document("manifest.json")["exit_code"] == 3
    faults = {
        video["video"]: video["fault"] and video["fault"]["kind"]
        for video in machine.document("summary.json")["videos"]
    }
    assert faults == {"a.mp4": None, "b.mp4": "no_frames"}


def test_names_that_detect_would_mix_are_refused(machine: Machine) -> None:
    machine.video("a.mp4", GATE)
    machine.video("a.avi", GATE)
    done = machine.run()
    assert done.returncode == 2
    assert "mix the results of a.avi and a.mp4" in done.stderr


def test_videos_whose_names_begin_alike_are_kept_apart(machine: Machine) -> None:
    machine.video("cam.mp4", {"frames": 4, "fps": 2, "labels": {"1": [0]}})
    machine.video("cam_1.mp4", {"frames": 4, "fps": 2, "labels": {"1": [2], "2": [2]}})
    assert machine.run().returncode == 0
    counts = {video["video"]: video["counts"] for video in machine.document("summary.json")["videos"]}
    assert counts == {"cam.mp4": {"person": 1}, "cam_1.mp4": {"car": 2}}


def test_the_report_reads_it(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_RUNS", str(tmp_path / "runs"))
    machine.video("a.mp4", GATE)
    assert machine.run().returncode == 0
    shutil.copytree(machine.state, tmp_path / "runs" / "r1" / "c1", ignore=shutil.ignore_patterns("lock"))
    now = datetime.now(UTC)
    manifest = parse_manifest((machine.state / "manifest.json").read_bytes(), source="test")
    size_bytes = sum(entry.size_bytes for entry in manifest.files)
    fetched = Fetched(files=len(manifest.files), size_bytes=size_bytes, verified_at=now)
    runs.save(
        RunRecord(
            run="r1", created_at=now, finished_at=now, cluster="c", substrate="lab", engine="ssh",
            template="yolov5-upstream", image=Image(reference=DEFAULT_IMAGES["yolov5-upstream"]),
            weights=Weights(name="yolov5x", sha256="a" * 64),
            nodes={"c1": NodeRecord(outcome=Outcome.FINISHED, fetched=fetched)},
        )
    )  # fmt: skip
    view = report.read_run("r1")
    assert (view.state, view.headline) == ("complete", "6 detections in 1 video")
    assert view.nodes[0].videos[0].counts == {"car": 5, "person": 1}
    assert all(frame.path for frame in view.nodes[0].videos[0].key_frames)
    assert "a.mp4" in report.write_page(view).read_text()


def test_results_of_a_job_that_writes_no_summary_are_listed_as_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template of the user's own: its files came home and are checked; there is nothing to count."""
    monkeypatch.setenv("SHOAL_RUNS", str(tmp_path / "runs"))
    home = tmp_path / "runs" / "r1" / "c1"
    home.mkdir(parents=True)
    (home / "found.txt").write_text("something")
    entry = {"path": "found.txt", "size_bytes": 9, "sha256": hashlib.sha256(b"something").hexdigest()}
    raw = {"schema_version": 1, "run": "r1", "finished_at": "x", "exit_code": 0, "files": [entry]}
    (home / "manifest.json").write_text(json.dumps(raw))
    now = datetime.now(UTC)
    runs.save(
        RunRecord(
            run="r1", created_at=now, finished_at=now, cluster="c", substrate="lab", engine="ssh",
            template="own.yaml.j2", image=Image(reference="i"), weights=Weights(name="w", sha256="a" * 64),
            nodes={"c1": NodeRecord(
                outcome=Outcome.FINISHED, fetched=Fetched(files=1, size_bytes=9, verified_at=now)
            )},
        )
    )  # fmt: skip
    view = report.read_run("r1")
    assert (view.state, view.problems, view.headline) == ("complete", [], "1 file of results, no figures")
    assert any("wrote no summary" in notice and "found.txt" in notice for notice in view.notices)
    assert "found.txt" in report.write_page(view).read_text()
    table.show(view, None, Console(file=io.StringIO()))
    shown = CliRunner().invoke(results_app, ["show", "r1"])
    assert shown.exit_code == 0, shown.output
    assert "1 file" in shown.output
