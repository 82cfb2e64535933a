"""Whose run a job is: the label, the parameter and the results' folder must agree, before anything is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from job_example import changed, values

from shoal import jobs
from shoal.errors import UsageError
from shoal.jobs import identity
from shoal.jobs.spec import JobSpec, parse

STATE = "Tasks/0/InputSources/2/Source/Params/SourcePath"
ARGUMENTS = "Tasks/0/Engine/Params/Parameters"
BEGINNING = ["--input", "/videos", "--state", "/state"]


def job(path: str | None = None, value: Any = None) -> JobSpec:
    return parse(changed(path, value) if path else jobs.render("yolov5", values()).to_document(), source="test")


def test_a_rendered_job_tells_all_of_itself() -> None:
    said = identity.of(jobs.render("yolov5", values(knobs={"conf": 0.4, "classes": "car"})), source="test")
    assert (said.run, said.attempt, said.weights_sha256, said.weights_name) == ("r1", 1, "b" * 64, "yolov5s")
    assert said.knobs == {"conf": "0.4", "classes": "car"}


def test_a_job_as_text_reads_back(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(jobs.text(job()), encoding="utf-8")
    assert jobs.read(file) == job()
    file.write_text(json.dumps(job().to_document()), encoding="utf-8")
    assert jobs.read(file) == job()


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (STATE, "/var/lib/shoal/runs/r2", "SourcePath"),
        (STATE, "/var/lib/shoal/runs/r1/../r2", "SourcePath"),
        (STATE, "/var/lib/shoal/runs", "SourcePath"),
        (STATE, "/var/lib/shoal/runs/", "SourcePath"),
        (STATE, "/var/lib/shoal/runs/r1/videos", "SourcePath"),
        (STATE, "/var/lib", "SourcePath"),
        (ARGUMENTS, [*BEGINNING, "--run", "r2", "/weights/0.onnx"], "Parameters[5]"),
        (ARGUMENTS, [*BEGINNING, "--run=r2"], "Parameters[4]"),
        ("Labels/shoal-run", "r2", "Labels.shoal-run"),
    ],
)
def test_another_runs_id_or_folder_is_refused_with_its_place(path: str, value: Any, where: str) -> None:
    with pytest.raises(UsageError) as caught:
        identity.of(job(path, value), source="job.yaml")
    assert any(where in fault.where for fault in caught.value.faults), caught.value
    with pytest.raises(UsageError, match="of another run than 'r1'") as caught:
        identity.refuse_other_run(job(path, value), "r1", source="job.yaml")
    assert any(where in fault.where for fault in caught.value.faults)


def test_a_slash_at_the_folders_end_is_the_same_folder() -> None:
    identity.refuse_other_run(job(STATE, "/var/lib/shoal/runs/r1/"), "r1", source="job.yaml")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("Labels", {}, "the label shoal-run is missing"),
        ("Tasks/0/InputSources/2/Source/Params/ReadWrite", False, "is mounted ReadWrite"),
        ("Tasks/0/Engine/Params/Parameters", ["--run", "r1"], "names no model"),
    ],
)
def test_a_job_that_cannot_be_a_run_is_refused(path: str, value: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        identity.of(job(path, value), source="job.yaml")


def test_a_finished_job_as_a_template_of_another_run_is_refused_when_it_is_rendered(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(jobs.text(job()), encoding="utf-8")
    assert jobs.render(str(file), values()) == job()
    with pytest.raises(UsageError, match="of another run than 'r2'; nothing was started") as caught:
        jobs.render(str(file), values(run="r2"))
    assert len(caught.value.faults) == 3
    assert "shoal job submit" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2", "a: " + "[" * 5000])
def test_a_file_that_is_no_job_is_a_message(tmp_path: Path, text: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError):
        jobs.read(file)


@pytest.mark.parametrize(("label", "number"), [("3", 3), ("", 1), ("x", 1), ("9" * 30, 1), ("-1", 1)])
def test_an_attempts_number_in_a_strangers_label(label: str, number: int) -> None:
    assert identity.attempt({"shoal-attempt": label}) == number
