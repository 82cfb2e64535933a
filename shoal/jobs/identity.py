"""Whose run a job is: its label, its parameter `--run` and the folder that its results go to must agree on that."""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from shoal.errors import Fault, UsageError
from shoal.jobs.spec import JobSpec
from shoal.paths import NODE_RUNS

RUN_LABEL = "shoal-run"
ATTEMPT_LABEL = "shoal-attempt"
KNOBS = (
    *("conf", "iou", "classes", "img", "stride", "key-frames"),
    *("precision", "privacy", "reuse", "clips", "since", "cameras"),
)
_MODEL = re.compile(r"/weights/([0-9a-f]{64})\.")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a finished job says of itself."""

    run: str
    attempt: int
    weights_sha256: str
    weights_name: str
    knobs: Mapping[str, str]
    """The detector's flags without dashes, as far as they are in the job."""


def of(job: JobSpec, *, source: str) -> Identity:
    """Read a job that was finished elsewhere. Raises UsageError with everything that keeps it from being a run."""
    said = list(_runs(job))
    runs = {run for _, run in said}
    words = job.task.engine.params.parameters
    values = dict(itertools.pairwise(words))
    model = next((found[1] for word in words if (found := _MODEL.search(word))), values.get("--weights-sha256"))
    faults = [Fault(where, f"is of run {run!r}") for where, run in said] if len(runs) > 1 else []
    if not any(where.startswith("Tasks[0].InputSources") for where, _ in said):
        faults.append(Fault("Tasks[0].InputSources", f"no folder {NODE_RUNS}/RUN is mounted ReadWrite for the results"))
    if RUN_LABEL not in job.labels:
        faults.append(Fault("Labels", f"the label {RUN_LABEL} is missing, by which the engine finds the run again"))
    if model is None:
        faults.append(Fault("Tasks[0].Engine.Params.Parameters", "names no model: /weights/<sha256>.onnx"))
    if faults or model is None:
        raise UsageError(f"{source} is not the job of one run", faults=tuple(faults), hint="docs/jobs.md shows one")
    return Identity(
        run=runs.pop(),
        attempt=attempt(job.labels),
        weights_sha256=model,
        weights_name=values.get("--weights-name", model[:12]),
        knobs={name: values[f"--{name}"] for name in KNOBS if f"--{name}" in values},
    )


def attempt(labels: Mapping[str, str]) -> int:
    """The attempt's number in a job's labels; 1 where somebody else's job has none."""
    text = labels.get(ATTEMPT_LABEL, "")
    return int(text) if text.isdecimal() and len(text) < 9 else 1


def refuse_other_run(job: JobSpec, run: str, *, source: str) -> None:
    """Raise UsageError where the job is of another run than `run`, whose folder it would write into or not."""
    if faults := tuple(Fault(where, f"is of run {found!r}") for where, found in _runs(job) if found != run):
        raise UsageError(
            f"{source} is of another run than {run!r}; nothing was started",
            faults=faults,
            hint="a template has {{ run }} and {{ state_dir }} there; a finished job is handed in with "
            "`shoal job submit`",
        )


def _runs(job: JobSpec) -> Iterator[tuple[str, str]]:
    """The runs that a job names, and where."""
    if RUN_LABEL in job.labels:
        yield f"Labels.{RUN_LABEL}", job.labels[RUN_LABEL]
    words = job.task.engine.params.parameters
    for index, word in enumerate(words):
        if word == "--run" and index + 1 < len(words):
            yield f"Tasks[0].Engine.Params.Parameters[{index + 1}]", words[index + 1]
        elif word.startswith("--run="):
            yield f"Tasks[0].Engine.Params.Parameters[{index}]", word.partition("=")[2]
    for index, entry in enumerate(job.task.input_sources):
        path = PurePosixPath(posixpath.normpath(entry.source.params.source_path))
        if entry.source.params.read_write and (path.is_relative_to(NODE_RUNS) or NODE_RUNS.is_relative_to(path)):
            # All runs at once, or a folder within one, is no run.
            run = path.name if path.parent == NODE_RUNS else str(path)
            yield f"Tasks[0].InputSources[{index}].Source.Params.SourcePath", run
