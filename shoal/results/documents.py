"""The documents in a run's folder, as the detector writes them: the contract between it and the control side.

The detector has these as JSON Schemas of its own (detector/schemas/); a test holds the two together. Fields that a
newer detector adds are left aside, not refused: old control machines meet new images.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shoal.results.record import RunId

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
DoneCode = Literal[0, 3]
"""Exit codes of a detector that ended: all well, or at least one video faulty."""
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

    kind: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,39}$")]
    """One of those that detector/schemas/video_summary.schema.json lists, or one that a newer detector knows."""
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


class Gap(_Document):
    """Frames missing in one place of a video."""

    frame: Count
    """The first frame after it."""
    time_s: Figure
    frames: Count


class Jump(_Document):
    """A place where a recording's own clock does not go on."""

    frame: Count
    time_s: Figure
    """Video time, which goes on."""
    from_s: float
    to_s: float


class FrameSize(_Document):
    """Size of the frames from one on, as shown, in pixels."""

    frame: Count
    time_s: Figure
    width: Count
    height: Count


class StreamNotRead(_Document):
    """A video stream of the file beside the one that was read."""

    stream: Count
    codec: str | None
    width: Count | None
    height: Count | None
    why: str


class NotRead(_Document):
    """Files under the input folder that are no footage."""

    pictures: Count = 0
    sound: Count = 0
    other: Count = 0
    hidden: Count = 0
    names: tuple[str, ...] = ()
    """The first ones, without the hidden."""


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
    missing_frames: Count = 0
    """Frames that the recording lost. This and what follows up to the timeline: 0 or empty of older detectors."""
    gaps: tuple[Gap, ...] = ()
    clock_jumps: Count = 0
    jumps: tuple[Jump, ...] = ()
    recorded_at: str | None = None
    parts: Count = 1
    sizes: tuple[FrameSize, ...] = ()
    rotation_deg: Literal[0, 90, 180, 270] = 0
    mirrored: bool = False
    pixel_aspect: Annotated[float, Field(gt=0)] = 1.0
    """Width of a pixel by its height."""
    interlaced: bool = False
    streams_not_read: tuple[StreamNotRead, ...] = ()
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
    not_read: NotRead = NotRead()
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
