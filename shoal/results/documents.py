"""The documents in a run's folder, as the detector writes them: the contract between it and the control side.

The detector has these as JSON Schemas of its own (detector/schemas/); a test holds the two together. Fields that a
newer detector adds are left aside, not refused: old control machines meet new images.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shoal.results.exit_codes import DoneCode
from shoal.results.record import RunId

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Figure = Annotated[float, Field(ge=0)]

NOT_LISTED = frozenset({"lock", "manifest.json"})
"""Files of the folder that the manifest does not name."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Detection(_Document):
    """One line of detections.jsonl."""

    video: str
    frame: Count
    time_s: Figure
    class_name: str = Field(alias="class")
    class_id: Count
    confidence: Annotated[float, Field(ge=0, le=1)]
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the original frame."""


class VideoFault(_Document):
    """Why a video could not be processed, or not to its end."""

    kind: Literal["unreadable", "truncated", "empty", "no_frames", "no_video_stream"]
    message: str


class Moment(_Document):
    """Detections within one second of a video."""

    time_s: Figure
    counts: dict[str, Count]


class KeyFrame(_Document):
    """An annotated frame kept as JPEG."""

    file: str
    frame: Count
    time_s: Figure
    detections: Count
    width: Count
    height: Count


class VideoSummary(_Document):
    """summary.json of one video."""

    schema_version: Literal[1]
    video: str
    video_id: str
    size_bytes: Count
    width: Count | None
    height: Count | None
    fps: Figure | None
    frames: Count
    frames_inferred: Count
    duration_s: Figure | None
    decode_and_infer_s: Figure
    frames_per_s: Figure
    detections: Count
    counts: dict[str, Count]
    frames_with: dict[str, Count]
    fault: VideoFault | None
    decode_errors: Count
    timeline: tuple[Moment, ...]
    key_frames: tuple[KeyFrame, ...]


class RunWeights(_Document):
    """The model, as the detector was told and as it hashed it."""

    name: str
    sha256: Sha256


class Totals(_Document):
    """Sums over a node's videos."""

    videos: Count
    faulty: Count
    frames: Count
    frames_inferred: Count
    detections: Count
    counts: dict[str, Count]


class RunSummary(_Document):
    """summary.json of a node's run folder."""

    schema_version: Literal[1]
    run: RunId
    started_at: str
    finished_at: str
    detector_version: str
    weights: RunWeights
    settings: dict[str, object]
    runtime: dict[str, object]
    videos: Annotated[tuple[VideoSummary, ...], Field(min_length=1)]
    totals: Totals
    exit_code: DoneCode


class ManifestEntry(_Document):
    """One file of the folder."""

    path: str
    size_bytes: Count
    sha256: Sha256

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        # The path comes from a node and is written to here: nothing may lead out of the folder.
        parts = self.path.split("/")
        if any(part in ("", ".", "..") for part in parts) or set(self.path) & set("\0\\") or self.path in NOT_LISTED:
            raise ValueError(f"{self.path!r} is not the path of a file inside the run's folder")
        if parts[0].startswith("."):
            raise ValueError(f"{self.path!r}: a name that begins with a dot is not a result")
        return self


class Manifest(_Document):
    """manifest.json: written last, so its presence says that the node is done."""

    schema_version: Literal[1]
    run: RunId
    finished_at: str
    exit_code: DoneCode
    files: Annotated[tuple[ManifestEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        paths = {entry.path for entry in self.files}
        if len(paths) != len(self.files):
            raise ValueError("a path is listed twice")
        parents = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
        if clash := sorted(paths & parents):
            raise ValueError(f"{clash[0]!r} is listed as a file and as a folder")
        return self
