"""The record of a run on the control machine: which nodes were expected, and what became of each.

`runs/<run id>/run.json` is this model; `runs/<run id>/<node>/` is the node's run folder as the detector wrote it.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shoal import untrusted
from shoal.cluster.document import Engine, Substrate
from shoal.errors import UsageError
from shoal.files import close_to_others, write_atomic
from shoal.paths import runs_dir
from shoal.untrusted import Bounds, DamagedDocumentError

RUN_ID = re.compile(r"^[a-z0-9][a-z0-9-]{0,47}$")
BOUNDS = Bounds(size_bytes=16 << 20)
"""Of `run.json`: thousands of nodes with their attempts, and the job, whose program may be a long text."""
RunId = Annotated[str, StringConstraints(pattern=RUN_ID.pattern)]


class Outcome(StrEnum):
    """What became of one execution of the job on one node."""

    PENDING = "pending"
    """Expected, not ended yet (or the control machine died before it knew)."""
    FINISHED = "finished"
    """The manifest is there and every video was processed."""
    FAULTY_VIDEOS = "faulty_videos"
    """The manifest is there; at least one video was unreadable, the others were processed."""
    NO_VIDEOS = "no_videos"
    FAILED = "failed"
    """The container ended with another non-zero exit code."""
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"
    """Ended on request."""
    UNREACHABLE = "unreachable"
    """The node could not be reached, or was lost."""
    DRAINED = "drained"
    """The node was taken out of service and is given no run until it is taken back."""
    DAMAGED_RESULTS = "damaged_results"
    """What the node sent is no manifest, or not what its manifest says; nothing of it is taken for results."""
    NOT_RUN = "not_run"
    """The node should have run the job and did not (rejected, image missing, start refused)."""


HAS_MANIFEST = frozenset({Outcome.FINISHED, Outcome.FAULTY_VIDEOS})
"""Outcomes after which a node is done: it is not given the run again."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Attempt(_Record):
    """One execution on one node."""

    number: int
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome = Outcome.PENDING
    exit_code: int | None = None
    message: str = ""
    """For the reader: why it ended so."""
    image: str | None = None
    """The image that the node was given in this attempt, where it is not the run's (`--resume RUN --image ...`)."""
    execution: str | None = None
    """The engine's id of the execution, or the container's name."""


Bring = Literal["events", "all"]
"""What of a node's results comes home: `events` leaves the detections of every frame on the node."""


class EventBytes(_Record):
    """What became of a node's footage, in bytes."""

    footage: int
    detections: int
    events: int
    clips: int
    pictures: int


class Fetched(_Record):
    """Results brought home and checked against the manifest."""

    files: int
    size_bytes: int
    verified_at: datetime
    brought: Bring = "all"
    files_left: int = 0
    """On the node, with `events`."""
    bytes_left: int = 0
    bytes: EventBytes | None = None
    """What became of the node's footage; None of older detectors."""


class Shipped(_Record):
    """What of a node's events and clips was in the store when its outbox was asked."""

    size_bytes: int
    asked_at: datetime
    """When it was first asked with this answer."""


class NodeRecord(_Record):
    """One expected node."""

    outcome: Outcome = Outcome.PENDING
    attempts: list[Attempt] = Field(default_factory=list)
    fetched: Fetched | None = None
    shipped: Shipped | None = None
    """As of the last `shoal events`; None where the outbox knows nothing of the run."""
    arch: str = "amd64"
    spot: bool = False
    price_usd_per_hour: float | None = None


class Image(_Record):
    """The inference image that ran."""

    reference: str
    digest: str | None = None


class Weights(_Record):
    """The model that ran."""

    name: str
    sha256: str
    licence: str = "unknown"


class EngineProgram(_Record):
    """A program of the engine."""

    version: str
    arch: str
    sha256: str
    origin: str
    """`release`: out of an archive that its publisher signed; `given`: handed over by a person; `unknown`: not in the
    artefact cache of the control machine, so that it is unknown here."""
    runs_on: list[str] = Field(default_factory=list)
    """The machines whose services ran it, as read back from them."""


class RunRecord(_Record):
    """Everything there is to know of a run besides the results themselves."""

    schema_version: Literal[1] = 1
    run: RunId
    created_at: datetime
    finished_at: datetime | None = None
    cluster: str
    substrate: Substrate
    engine: Engine
    engine_reason: str = ""
    engine_programs: list[EngineProgram] = Field(default_factory=list)
    """With bacalhau the programs that the machines ran, the requester among them, as read back from their services when
    the run was begun or resumed; where no machine could be asked, what the control side had in its cache."""
    template: str = "yolov5"
    bring: Bring = "all"
    """What comes home."""
    options: dict[str, str | int | float | list[str] | None] = Field(default_factory=dict)
    """The detector's knobs as given: conf, iou, classes, img, stride, timeout_s, ..."""
    image: Image
    weights: Weights
    job: dict[str, object] = Field(default_factory=dict)
    """The job as rendered for the last attempt, in the engine's own format."""
    nodes: dict[str, NodeRecord]

    @property
    def missing(self) -> list[str]:
        """Expected nodes that have no finished manifest yet."""
        return [name for name, node in self.nodes.items() if node.outcome not in HAS_MANIFEST]

    @property
    def complete(self) -> bool:
        """Every expected node finished without faults and its results are home and verified."""
        return all(node.outcome is Outcome.FINISHED and node.fetched is not None for node in self.nodes.values())


def new_run_id(now: datetime | None = None) -> str:
    """A run id that sorts by time and does not collide: `20261125-093012-3fa9`."""
    moment = now or datetime.now(UTC)
    return f"{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def check_run_id(run: str) -> str:
    """`run` itself, or UsageError. It becomes a folder name on every node, so nothing but plain characters."""
    if not RUN_ID.fullmatch(run):
        raise UsageError(
            f"{run!r} is not a run id", hint="lower-case letters, digits and dashes, at most 48 characters"
        )
    return run


def run_dir(run: str) -> Path:
    """`runs/<run id>` on the control machine."""
    return runs_dir() / check_run_id(run)


def record_path(run: str) -> Path:
    """The run's record."""
    return run_dir(run) / "run.json"


def refuse_known(run: str) -> None:
    """Raise UsageError where there is a run of this id already."""
    if record_path(run).exists():
        raise UsageError(
            f"there is a run {run!r} already", hint=f"take it up again with `shoal resume {run}`, or name another"
        )


def save(record: RunRecord) -> None:
    """Write `run.json` atomically, and close the run's folder to others, however it was made."""
    write_atomic(record_path(record.run), record.model_dump_json(indent=2) + "\n")
    close_to_others(run_dir(record.run))


def load(run: str) -> RunRecord:
    """The record of `run`. Raises UsageError where there is none or it is damaged."""
    path = record_path(run)
    try:
        return untrusted.read_file(path, RunRecord, bounds=BOUNDS)
    except FileNotFoundError:
        there = ", ".join(list_runs()[-5:]) or "none"
        raise UsageError(f"there is no run {run!r} under {runs_dir()}", hint=f"the latest runs are: {there}") from None
    except DamagedDocumentError as error:
        raise UsageError(error.message, faults=error.faults) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def list_runs() -> list[str]:
    """Ids of the runs that have a record, oldest first: by the time in it, since an id may be a person's own."""
    if not runs_dir().is_dir():
        return []
    names = [entry.name for entry in runs_dir().iterdir() if RUN_ID.fullmatch(entry.name)]
    return sorted((name for name in names if record_path(name).is_file()), key=lambda name: (_begun_s(name), name))


def _begun_s(run: str) -> float:
    """When a run was begun, as seconds; where its record is damaged, when that was written."""
    path = record_path(run)
    try:
        return untrusted.read_file(path, RunRecord, bounds=BOUNDS).created_at.timestamp()
    except (OSError, DamagedDocumentError):
        return path.stat().st_mtime if path.exists() else 0.0
