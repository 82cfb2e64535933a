"""What a node's run folder holds, as far as the report reads it: summaries and the manifest, read with distrust.

The files come from other machines and may be damaged or half fetched: reading never raises for that, it tells.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal.cluster import field_faults

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Document(BaseModel):
    # Fields that a newer detector adds do not stop the report.
    model_config = ConfigDict(extra="ignore", frozen=True)


class VideoFault(_Document):
    """Why a video could not be processed to its end."""

    kind: str
    message: str = ""


class Second(_Document):
    """Detections within one whole second of a video."""

    time_s: Amount
    counts: dict[str, Count]


class KeyFrameFile(_Document):
    """A picture beside the video's summary, boxes drawn in."""

    file: str
    frame: Count
    time_s: Amount
    detections: Count = 0
    width: Count | None = None
    height: Count | None = None


class VideoSummary(_Document):
    """`videos/<video id>/summary.json`."""

    schema_version: Literal[1] = 1
    video: str
    video_id: str
    size_bytes: Count = 0
    width: Count | None = None
    height: Count | None = None
    fps: Amount | None = None
    frames: Count = 0
    frames_inferred: Count = 0
    duration_s: Amount | None = None
    decode_and_infer_s: Amount | None = None
    frames_per_s: Amount | None = None
    detections: Count = 0
    counts: dict[str, Count] = Field(default_factory=dict)
    frames_with: dict[str, Count] = Field(default_factory=dict)
    fault: VideoFault | None = None
    decode_errors: Count = 0
    timeline: list[Second] = Field(default_factory=list)
    key_frames: list[KeyFrameFile] = Field(default_factory=list)


class DetectorWeights(_Document):
    """The model as the detector saw it."""

    name: str
    sha256: str


class NodeSummary(_Document):
    """`summary.json` of a node that went through all its videos."""

    schema_version: Literal[1] = 1
    run: str
    detector_version: str = "unknown"
    weights: DetectorWeights | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    runtime: dict[str, Any] = Field(default_factory=dict)
    videos: list[VideoSummary] = Field(default_factory=list)
    exit_code: int | None = None


class ManifestFile(_Document):
    """One file of a finished run folder."""

    path: str
    size_bytes: Count
    sha256: str = ""


class Manifest(_Document):
    """`manifest.json`: written last, so its presence says that the node had finished."""

    schema_version: Literal[1] = 1
    run: str
    exit_code: int | None = None
    files: list[ManifestFile] = Field(default_factory=list)


DocumentT = TypeVar("DocumentT", bound=_Document)


def read_document(path: Path, kind: type[DocumentT], notes: list[str]) -> DocumentT | None:
    """The document at `path`; None, with the reason appended to `notes`, where it is missing or damaged."""
    try:
        return kind.model_validate(_printable(json.loads(path.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        notes.append(f"{path.name} is missing")
    except ValidationError as error:
        faults = field_faults(error)
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        notes.append(f"{path.name} is damaged: {faults[0] if faults else 'not an object'}{more}")
    except (OSError, ValueError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
    return None


def inside(folder: Path, relative: str) -> Path | None:
    """`folder/relative`, or None where that would leave the folder (`..`, absolute paths, links)."""
    if "\0" in relative:
        return None
    path = (folder / relative).resolve()
    return path if path.is_relative_to(folder.resolve()) else None


def _printable(value: Any) -> Any:
    """The value with lone surrogates (from file names that are not UTF-8) spelled out, as no writer accepts them."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return value
