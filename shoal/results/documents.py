"""The documents in a run's folder, as the detector writes them: the contract between it and the control side.

The detector has these as JSON Schemas of its own (detector/schemas/); a test holds the two together. Fields that a
newer detector adds are left aside, not refused: old control machines meet new images. Every reader of these documents
goes through `read`, which holds them to bounds: a node is a stranger.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shoal import untrusted
from shoal.results.exit_codes import DoneCode
from shoal.results.record import RunId
from shoal.terminal import printable
from shoal.untrusted import Bounds

BOUNDS = Bounds(size_bytes=32 << 20, marks=1_200_000)
"""Of every document of a run's folder: 200,000 files in a manifest, or as many seconds with detections in a summary."""
PATH_BYTES = 1024
"""Of a path in the run's folder; the local path in front of it has to fit beside it into Linux's 4096 (PATH_MAX)."""
PART_BYTES = 255
"""Of one name in a path (NAME_MAX)."""
PLACES = 100
"""The most that the detector lists of a recording's gaps, jumps, sizes, other streams, and of files it did not read."""
KEY_FRAMES = 1000
"""The most that the detector takes for `--key-frames`."""

Text = Annotated[str, StringConstraints(max_length=16 << 10), AfterValidator(printable)]
"""A video's path of 4096 bytes, each of them spelled out, and room for a message around it. It has one line: the next
would look like another machine's."""
Word = Annotated[str, StringConstraints(max_length=256), AfterValidator(printable)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Figure = Annotated[float, Field(ge=0)]

NOT_LISTED = frozenset({"lock", "manifest.json"})
"""Files of the folder that the manifest does not name."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


DocumentT = TypeVar("DocumentT", bound=_Document)
Counts = Annotated[dict[Word, Count], Field(max_length=10_000)]
"""By class."""


def read(path: Path, kind: type[DocumentT]) -> DocumentT:
    """The document in a file of a run's folder. Raises OSError and DamagedDocumentError."""
    return untrusted.read_file(path, kind, bounds=BOUNDS)


def parse(raw: bytes, kind: type[DocumentT], *, source: str) -> DocumentT:
    """The document in `raw`. Raises DamagedDocumentError; `source` names the file in its text."""
    return untrusted.document(raw, kind, source=source, bounds=BOUNDS)


class Detection(_Document):
    """One line of detections.jsonl."""

    video: Text
    frame: Count
    time_s: Figure
    class_name: Word = Field(alias="class")
    class_id: Count
    confidence: Annotated[float, Field(ge=0, le=1)]
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the original frame."""
    carried: bool = False
    """Found on an earlier frame; nothing changed there since."""


class VideoFault(_Document):
    """Why a video could not be processed, or not to its end."""

    kind: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,39}$")]
    """One of those that detector/schemas/video_summary.schema.json lists, or one that a newer detector knows."""
    message: Text


class Moment(_Document):
    """Detections within one second of a video."""

    time_s: Figure
    counts: Counts


class KeyFrame(_Document):
    """An annotated frame kept as JPEG."""

    file: Text
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
    codec: Word | None
    width: Count | None
    height: Count | None
    why: Text


class NotRead(_Document):
    """Files under the input folder that are no footage, and footage that went."""

    pictures: Count = 0
    sound: Count = 0
    other: Count = 0
    hidden: Count = 0
    gone: Count = 0
    """Film that its recorder removed before the run came to it."""
    names: Annotated[tuple[Text, ...], Field(max_length=PLACES)] = ()
    """The first ones, without the hidden."""


class Audited(_Document):
    """Boxes of audited frames."""

    found: Count
    expected: Count
    matched: Count


class Reuse(_Document):
    """What was reused where frames, or parts of them, did not change."""

    frames_in_part: Count
    frames_carried: Count
    audited_frames: Count
    audited: Audited
    audited_f1: Annotated[float, Field(ge=0, le=1)] | None
    segments_redone: Count


class VideoSummary(_Document):
    """summary.json of one video."""

    schema_version: Literal[1]
    video: Text
    video_id: Word
    size_bytes: Count
    width: Count | None
    height: Count | None
    fps: Figure | None
    frames: Count
    frames_inferred: Count
    reuse: Reuse | None = None
    duration_s: Figure | None
    decode_and_infer_s: Figure
    frames_per_s: Figure
    detections: Count
    counts: Counts
    frames_with: Counts
    fault: VideoFault | None
    decode_errors: Count
    missing_frames: Count = 0
    """Frames that the recording lost. This and what follows up to the timeline: 0 or empty of older detectors."""
    gaps: Annotated[tuple[Gap, ...], Field(max_length=PLACES)] = ()
    clock_jumps: Count = 0
    jumps: Annotated[tuple[Jump, ...], Field(max_length=PLACES)] = ()
    recorded_at: Word | None = None
    parts: Count = 1
    sizes: Annotated[tuple[FrameSize, ...], Field(max_length=PLACES)] = ()
    rotation_deg: Literal[0, 90, 180, 270] = 0
    mirrored: bool = False
    pixel_aspect: Annotated[float, Field(gt=0)] = 1.0
    """Width of a pixel by its height."""
    interlaced: bool = False
    streams_not_read: Annotated[tuple[StreamNotRead, ...], Field(max_length=PLACES)] = ()
    timeline: tuple[Moment, ...]
    key_frames: Annotated[tuple[KeyFrame, ...], Field(max_length=KEY_FRAMES)]


class RunWeights(_Document):
    """The model, as the detector was given it and as it hashed it."""

    name: Text
    sha256: Sha256


class Totals(_Document):
    """Sums over a node's videos."""

    videos: Count
    faulty: Count
    frames: Count
    frames_inferred: Count
    detections: Count
    counts: Counts


class EventBytes(_Document):
    """What became of a node's footage, in bytes."""

    footage: Count
    detections: Count
    events: Count
    clips: Count
    pictures: Count
    """The events' key frames."""


class CameraVideos(_Document):
    """Which videos are one camera's, in order."""

    name: Text
    videos: tuple[Text, ...]


class EventCounts(_Document):
    """What a node's events.jsonl holds."""

    alerts: Count
    records: Count
    clips_verified: Count
    clips_quarantined: Count
    clips_not_made: Count
    bytes: EventBytes
    cameras: tuple[CameraVideos, ...] = ()
    """All of the run; none by older detectors."""


class PrecisionTrial(_Document):
    """bfloat16 against float32 on a run's first frames."""

    frames: Count
    boxes: Count
    f1: Annotated[float, Field(ge=0, le=1)]
    float32_ms: Figure
    bfloat16_ms: Figure


class PrecisionChoice(_Document):
    """In which numbers the model computed, and why."""

    used: Literal["float32", "bfloat16"]
    why: Text
    trial: PrecisionTrial | None


class RunSummary(_Document):
    """summary.json of a node's run folder."""

    schema_version: Literal[1]
    run: RunId
    started_at: Word
    finished_at: Word
    detector_version: Word
    weights: RunWeights
    settings: dict[str, object]
    precision: PrecisionChoice | None = None
    reuse: Reuse | None = None
    runtime: dict[str, object]
    videos: Annotated[tuple[VideoSummary, ...], Field(min_length=1)]
    not_read: NotRead = NotRead()
    totals: Totals
    events: EventCounts | None = None
    """None of older detectors."""
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
        if len(self.path.encode()) > PATH_BYTES or any(len(part.encode()) > PART_BYTES for part in parts):
            raise ValueError(f"{self.path[:80]!r}...: a path has at most {PATH_BYTES} bytes, each name {PART_BYTES}")
        return self


class Manifest(_Document):
    """manifest.json: written last, so its presence says that the node is done."""

    schema_version: Literal[1]
    run: RunId
    finished_at: Word
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
