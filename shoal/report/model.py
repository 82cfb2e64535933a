"""The report's view models: everything the table, the page and `--json` show, figured out once."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from shoal.results.documents import FrameSize, Moment, NotRead, StreamNotRead, VideoFault
from shoal.results.record import Outcome


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class Verification(StrEnum):
    """How far the results at home can be trusted to be what the node wrote."""

    VERIFIED = "verified"
    """Fetched, checked then, and every file of the manifest is still there with its size and SHA-256."""
    NOT_VERIFIED = "not_verified"
    ABSENT = "absent"
    """Nothing was brought home."""


class State(StrEnum):
    """The run in one word."""

    COMPLETE = "complete"
    FAULTY_VIDEOS = "faulty_videos"
    INCOMPLETE = "incomplete"


class KeyFrame(_View):
    """A picture with boxes; `path` is relative to the run's folder, None where the file is missing or not whole."""

    path: str | None
    frame: int
    time_s: float
    detections: int
    width: int | None
    height: int | None
    size_bytes: int


class Video(_View):
    """One video on one node."""

    video: str
    video_id: str
    still_photo: bool
    """The clip is a moving crop of a still photo, not camera footage."""
    verified: bool
    size_bytes: int
    width: int | None
    height: int | None
    fps: float | None
    frames: int
    frames_inferred: int
    duration_s: float | None
    decode_and_infer_s: float | None
    frames_per_s: float | None
    """Frames decoded per second of work."""
    detections: int
    counts: dict[str, int]
    """Detections by class, the most frequent first."""
    frames_with: dict[str, int]
    fault: VideoFault | None
    decode_errors: int
    missing_frames: int
    """Frames that the recording lost."""
    clock_jumps: int
    """Places where the recording's own clock does not go on."""
    recorded_at: str | None
    parts: int
    """Recordings in a row in the file."""
    sizes: list[FrameSize]
    """More than one where the frames change their size."""
    rotation_deg: int
    mirrored: bool
    pixel_aspect: float
    interlaced: bool
    streams_not_read: list[StreamNotRead]
    timeline: list[Moment]
    key_frames: list[KeyFrame]


class EventObject(_View):
    """An object of an event."""

    class_name: str
    confidence: float
    rule: str
    start_s: float
    end_s: float


class SeenEvent(_View):
    """An event of a camera; paths are relative to the run's folder, None where the file is missing or not whole."""

    node: str
    id: str
    camera: str
    videos: list[str]
    start_utc: str | None
    end_utc: str | None
    start_s: float
    end_s: float
    severity: str
    rule: str
    reason: str
    privacy: str
    objects: list[EventObject]
    key_frame: str | None
    clip: str | None
    clip_bytes: int
    clip_sha256: str | None
    clip_state: str
    """verified, quarantined, none or pending."""
    clip_reason: str | None


class CameraEvents(_View):
    """The events of one camera, in order."""

    node: str
    camera: str
    length_s: float
    """Of its footage in the run, at least to its last event's end."""
    events: list[SeenEvent]


class Bytes(_View):
    """What became of the footage, in bytes, over all nodes that say it."""

    footage: int
    detections: int
    events: int
    clips: int
    pictures: int

    @property
    def leaving(self) -> int:
        """What leaves the site: events with their clips and pictures."""
        return self.events + self.clips + self.pictures


class Attempt(_View):
    """One execution of the job on a node."""

    number: int
    started_at: datetime
    ended_at: datetime | None
    duration_s: float | None
    outcome: Outcome
    exit_code: int | None
    message: str
    execution: str | None


class Totals(_View):
    """Sums over videos; of a node or of the run."""

    videos: int
    faulty_videos: int
    still_photo_videos: int
    frames: int
    frames_inferred: int
    footage_s: float
    work_s: float
    """Seconds spent on decoding and inference, added up over videos."""
    frames_per_work_s: float | None
    detections: int
    counts: dict[str, int]
    videos_with: dict[str, int]
    video_bytes: int
    """Size of the videos, which stayed on the nodes."""
    unverified_videos: int


class Node(_View):
    """One expected node."""

    name: str
    outcome: Outcome
    outcome_text: str
    arch: str
    spot: bool
    attempts: list[Attempt]
    exit_code: int | None
    """Of the last attempt that has one."""
    verification: Verification
    notes: list[str]
    """Why the results are not verified, and whatever else is odd."""
    videos: list[Video]
    files: list[str]
    """The results by name, where the job's program wrote no summary to count in."""
    totals: Totals
    home_bytes: int
    machine_time_s: float | None
    """Length of all ended attempts; None where none has ended."""
    machine_time_open: bool
    """An attempt has no recorded end, so that the true machine time is longer."""
    price_usd_per_hour: float | None
    cost_usd: float | None
    detector_version: str | None
    weights_sha256: str | None
    settings: dict[str, Any]
    runtime: dict[str, Any]
    not_read: NotRead
    """Files beside the videos that are no footage."""
    cameras: list[CameraEvents] = []
    """Those with events."""
    camera_videos: dict[str, list[str]] = {}
    """Videos by camera, of all cameras; empty of older detectors."""
    event_bytes: Bytes | None = None
    """None of older detectors and of programs that make no events."""
    shipped_bytes: int | None = None
    """That were in the store when its outbox was asked last; None where that is not known."""


class Run(_View):
    """The whole report. Times are UTC, sizes bytes, durations seconds."""

    schema_version: int = 1
    run: str
    state: State
    state_text: str
    headline: str
    problems: list[str]
    """Everything that keeps the run from being whole and sound, in words."""
    notices: list[str]
    """What a reader should know and is no fault."""
    nodes_expected: int
    nodes_done: int
    """Nodes with a finished manifest whose results are home and verified."""
    totals: Totals
    wall_time_s: float | None
    frames_per_wall_s: float | None
    home_bytes: int
    unverified_home_bytes: int
    cost_usd: float | None
    cost_text: str
    cost_lines: list[str]
    """The same per hour of footage and per thousand frames, and an estimate for the walk-through's machines."""
    created_at: datetime
    finished_at: datetime | None
    cluster: str
    substrate: str
    engine: str
    engine_reason: str
    template: str
    options: dict[str, Any]
    image_reference: str
    image_digest: str | None
    weights_name: str
    weights_sha256: str
    weights_licence: str
    job: dict[str, Any]
    cameras: list[CameraEvents] = []
    """Those with events, of all nodes."""
    event_bytes: Bytes | None = None
    shipped_bytes: int | None = None
    """Of all nodes of which it is known."""
    nodes: list[Node]
