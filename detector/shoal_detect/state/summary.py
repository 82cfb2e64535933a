"""Counts what was found in a video and in a run; the documents' shapes are in `detector/schemas/`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

from shoal_detect.model.classes import NAMES
from shoal_detect.model.precision import f1
from shoal_detect.read.videos import Passed, Video
from shoal_detect.state import store
from shoal_detect.state.settings import SCHEMA_VERSION
from shoal_detect.state.store import Document

if TYPE_CHECKING:  # the process that keeps the run loads neither FFmpeg nor numpy
    from shoal_detect.pictures.key_frames import Drawn, Found
    from shoal_detect.read.decode import Reading

MOST_NAMED = 50
"""Of files that are no footage; the others are counted."""


@dataclass
class Tally:
    """Counts over the frames of one video."""

    frames_inferred: int = 0
    """The model saw the whole of them."""
    frames_in_part: int = 0
    frames_carried: int = 0
    """The model saw parts of them, or nothing: all else is as on an earlier frame."""
    detections: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    """Detections by class id."""
    frames_with: Counter[int] = field(default_factory=Counter)
    """Inferred frames that show a class."""
    seconds: dict[int, Counter[int]] = field(default_factory=dict)
    """Detections by class id for every whole second that has any."""

    audited_frames: int = 0
    audited: Counter[str] = field(default_factory=Counter)
    """Boxes of audited frames: those about to be written (found), the model's own (expected), those alike (matched)."""
    segments_redone: int = 0

    def add(self, time_s: float, found: Sequence[Found], seen: float = 1.0) -> None:
        """Count one frame that was looked at; `seen` is how much of it the model saw: 1, a part, or 0."""
        self.frames_inferred += seen == 1
        self.frames_in_part += 0 < seen < 1
        self.frames_carried += seen == 0
        self.detections += len(found)
        classes = Counter(one.class_id for one in found)
        self.counts += classes
        self.frames_with.update(classes.keys())
        if classes:
            self.seconds.setdefault(int(time_s), Counter()).update(classes)

    def document(self) -> dict[str, object]:
        """As JSON can hold it."""
        return {
            "frames_inferred": self.frames_inferred,
            "detections": self.detections,
            "counts": sorted(self.counts.items()),
            "frames_with": sorted(self.frames_with.items()),
            "frames_in_part": self.frames_in_part,
            "frames_carried": self.frames_carried,
            "audited_frames": self.audited_frames,
            "audited": dict(self.audited),
            "segments_redone": self.segments_redone,
            "seconds": [[second, sorted(counts.items())] for second, counts in sorted(self.seconds.items())],
        }

    def merge(self, document: Document) -> None:
        """Add the counts of other frames of the video, as `document` gave them."""
        self.frames_inferred += document["frames_inferred"]
        self.frames_in_part += document["frames_in_part"]
        self.frames_carried += document["frames_carried"]
        self.audited_frames += document["audited_frames"]
        self.audited.update(document["audited"])
        self.segments_redone += document["segments_redone"]
        self.detections += document["detections"]
        self.counts.update(dict(document["counts"]))
        self.frames_with.update(dict(document["frames_with"]))
        for second, counts in document["seconds"]:
            self.seconds.setdefault(second, Counter()).update(dict(counts))


def by_name(counts: Counter[int]) -> dict[str, int]:
    """Counts by class name, in the order of the class ids."""
    return {NAMES[class_id]: counts[class_id] for class_id in sorted(counts)}


def video_summary(
    video: Video, reading: Reading, tally: Tally, chosen: Sequence[Drawn], work_s: float, *, reuse: bool = False
) -> Document:
    """`videos/<video id>/summary.json`."""
    fault = reading.fault
    return {
        "schema_version": SCHEMA_VERSION,
        "video": video.name,
        "video_id": video.video_id,
        "size_bytes": video.size_bytes if reading.size_bytes is None else reading.size_bytes,
        "width": reading.width or None,
        "height": reading.height or None,
        "fps": round(reading.fps, 3) or None,
        "frames": reading.frames,
        "frames_inferred": tally.frames_inferred,
        "duration_s": round(reading.duration_s, 3) if reading.frames else None,
        "decode_and_infer_s": round(work_s, 3),
        "frames_per_s": round(reading.frames / work_s, 2) if work_s > 0 else 0.0,
        "detections": tally.detections,
        "reuse": {
            "frames_in_part": tally.frames_in_part,
            "frames_carried": tally.frames_carried,
            "audited_frames": tally.audited_frames,
            "audited": {name: tally.audited[name] for name in ("found", "expected", "matched")},
            "audited_f1": f1(tally.audited) if tally.audited_frames else None,
            "segments_redone": tally.segments_redone,
        }
        if reuse
        else None,
        "counts": by_name(tally.counts),
        "frames_with": by_name(tally.frames_with),
        "fault": None if fault is None else {"kind": fault.kind, "message": fault.message},
        "decode_errors": reading.decode_errors,
        **_recording(reading),
        "timeline": [{"time_s": second, "counts": by_name(counts)} for second, counts in sorted(tally.seconds.items())],
        "key_frames": [
            {
                "file": key_frame_file(one),
                "frame": one.index,
                "time_s": round(one.time_s, 3),
                "detections": one.detections,
                "width": one.width,
                "height": one.height,
            }
            for one in chosen
        ],
    }


def _recording(reading: Reading) -> Document:
    """What the recording is like, beside its frames."""
    recorded_at = reading.recorded_at
    return {
        "missing_frames": reading.missing,
        "gaps": [{"frame": gap.frame, "time_s": round(gap.time_s, 3), "frames": gap.frames} for gap in reading.gaps],
        "clock_jumps": reading.clock.jump_count,
        "jumps": [
            {
                "frame": jump.frame,
                "time_s": round(jump.time_s, 3),
                "from_s": round(jump.from_s, 3),
                "to_s": round(jump.to_s, 3),
            }
            for jump in reading.jumps
        ],
        "recorded_at": None if recorded_at is None else recorded_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "parts": reading.parts,
        "sizes": [
            {"frame": size.frame, "time_s": round(size.time_s, 3), "width": size.width, "height": size.height}
            for size in reading.sizes
        ],
        "rotation_deg": reading.orientation.rotation_deg,
        "mirrored": reading.orientation.mirrored,
        "pixel_aspect": round(reading.pixel_aspect, 4),
        "interlaced": reading.interlaced,
        "streams_not_read": [
            {
                "stream": one.index,
                "codec": one.codec,
                "width": one.width or None,
                "height": one.height or None,
                "why": one.why,
            }
            for one in reading.unread
        ],
    }


def notes(video: Document) -> list[str]:
    """What a person should know of a video's recording and is no fault, as sentences without an end."""
    lines = []
    if video["missing_frames"] and (video["fault"] is None or video["fault"]["kind"] != "frames_missing"):
        lines.append(f"frames missing in it: {video['missing_frames']}")
    if video["clock_jumps"]:
        first = video["jumps"][0]
        lines.append(
            f"its clock jumps {video['clock_jumps']} times, first from {first['from_s']} s to {first['to_s']} s; "
            "video time goes on"
        )
    lines += [
        f"stream {one['stream']} ({one['codec'] or 'unknown codec'}, {one['width']} x {one['height']}) is not read: "
        f"{one['why']}"
        for one in video["streams_not_read"]
    ]
    return lines


def events_summary(state: Path, videos: Iterable[Document], cameras: Mapping[str, Sequence[str]]) -> Document:
    """`events` of the run's `summary.json`: how many, of which cameras, and what becomes of the footage."""
    folder = store.videos_folder(state)
    with store.state_errors("read", state):
        events = [json.loads(line) for line in (state / "events.jsonl").read_bytes().splitlines()]
        detections = sum((folder / one["video_id"] / "detections.jsonl").stat().st_size for one in videos)
        size_bytes = (state / "events.jsonl").stat().st_size
        pictures = sum((state / one["key_frame"]).stat().st_size for one in events if one["key_frame"])
    clips = [one["clip"] for one in events if one["clip"]]
    return {
        "alerts": sum(one["severity"] == "alert" for one in events),
        "records": sum(one["severity"] == "record" for one in events),
        "clips_verified": sum(one["state"] == "verified" for one in clips),
        "clips_quarantined": sum(one["state"] == "quarantined" for one in clips),
        "clips_not_made": sum(one["state"] == "none" for one in clips),
        "bytes": {
            "footage": sum(one["size_bytes"] for one in videos),
            "detections": detections,
            "events": size_bytes,
            "clips": sum(one["size_bytes"] for one in clips if one["state"] == "verified"),
            "pictures": pictures,
        },
        "cameras": [{"name": name, "videos": list(files)} for name, files in cameras.items()],
    }


def not_read(passed: Sequence[Passed], hidden: int, gone: int = 0) -> Document:
    """`not_read` of the run's `summary.json`: files under the input folder that are no footage, and what went."""
    kinds = Counter(one.kind for one in passed)
    return {
        "pictures": kinds["picture"],
        "sound": kinds["sound"],
        "other": kinds["other"],
        "hidden": hidden,
        "gone": gone,
        "names": [one.name for one in passed[:MOST_NAMED]],
    }


def key_frame_file(chosen: Drawn) -> str:
    """Path of a key frame in the video's folder."""
    return f"frames/{chosen.index:06d}.jpg"


def reuse_totals(videos: Iterable[Document]) -> Document | None:
    """`reuse` of the run's `summary.json`: the sums over its videos; None where nothing was reused."""
    each = [video["reuse"] for video in videos if video.get("reuse")]
    if not each:
        return None
    audited: Counter[str] = Counter()
    for one in each:
        audited.update(one["audited"])
    frames = sum(one["audited_frames"] for one in each)
    return {
        **{name: sum(one[name] for one in each) for name in ("frames_in_part", "frames_carried")},
        "audited_frames": frames,
        "audited": {name: audited[name] for name in ("found", "expected", "matched")},
        "audited_f1": f1(audited) if frames else None,
        "segments_redone": sum(one["segments_redone"] for one in each),
    }


def totals(videos: Iterable[Document]) -> Document:
    """Sums over the summaries of a run's videos."""
    videos = list(videos)
    counts: Counter[int] = Counter()
    for video in videos:
        counts.update({NAMES.index(name): number for name, number in video["counts"].items()})
    return {
        "videos": len(videos),
        "faulty": sum(video["fault"] is not None for video in videos),
        "frames": sum(video["frames"] for video in videos),
        "frames_inferred": sum(video["frames_inferred"] for video in videos),
        "detections": sum(video["detections"] for video in videos),
        "counts": by_name(counts),
    }
