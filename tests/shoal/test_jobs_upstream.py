"""The second template: the makers' own image and detect.py, with the run's lock and manifest around it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.errors import UsageError
from shoal.jobs import DEFAULT_IMAGES, Values, render, templates
from shoal.jobs.spec import JobSpec
from shoal.results import parse_manifest


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


def run_program(tmp_path: Path, detect: str) -> int:
    """The job's program with a detect.py of the test's own in place of the image's."""
    app, state = tmp_path / "app", tmp_path / "state"
    app.mkdir(exist_ok=True)
    state.mkdir(exist_ok=True)
    (app / "detect.py").write_text(detect)
    program = rendered().task.engine.params.entrypoint[3]
    assert '"/usr/src/app"' in program
    assert '"/state"' in program
    program = program.replace('"/usr/src/app"', repr(str(app))).replace('"/state"', repr(str(state)))
    return subprocess.run([sys.executable, "-c", program, "r1", "--x"], check=False).returncode


DETECT = """
import pathlib
folder = pathlib.Path.cwd().parent / "state" / "detect"
folder.mkdir(exist_ok=True)
with (folder / "a.txt").open("a") as stream:
    stream.write("0 1\\n")
"""


def test_the_program_writes_a_manifest_that_results_take(tmp_path: Path) -> None:
    assert run_program(tmp_path, DETECT) == 0
    raw = (tmp_path / "state" / "manifest.json").read_bytes()
    manifest = parse_manifest(raw, source="test")
    assert [entry.path for entry in manifest.files] == ["detect/a.txt"]
    assert json.loads(raw)["run"] == "r1"
    # Started again on a finished folder it does nothing.
    assert run_program(tmp_path, DETECT) == 0
    assert (tmp_path / "state" / "detect" / "a.txt").read_text() == "0 1\n"


def test_a_failure_of_detect_is_the_programs_and_leaves_no_manifest(tmp_path: Path) -> None:
    assert run_program(tmp_path, "import sys; sys.exit(7)") == 7
    assert not (tmp_path / "state" / "manifest.json").exists()
