"""Counts what was found in a video and in a run; the documents' shapes are in `detector/schemas/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from shoal_detect.model.classes import NAMES
from shoal_detect.pictures.key_frames import Found, KeyFrame
from shoal_detect.read.decode import Reading
from shoal_detect.read.videos import Video
from shoal_detect.state.settings import SCHEMA_VERSION
from shoal_detect.state.store import Document


@dataclass
class Tally:
    """Counts over the frames of one video."""

    frames_inferred: int = 0
    detections: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    """Detections by class id."""
    frames_with: Counter[int] = field(default_factory=Counter)
    """Inferred frames that show a class."""
    seconds: dict[int, Counter[int]] = field(default_factory=dict)
    """Detections by class id for every whole second that has any."""

    def add(self, time_s: float, found: Sequence[Found]) -> None:
        """Count one inferred frame."""
        self.frames_inferred += 1
        self.detections += len(found)
        classes = Counter(one.class_id for one in found)
        self.counts += classes
        self.frames_with.update(classes.keys())
        if classes:
            self.seconds.setdefault(int(time_s), Counter()).update(classes)


def by_name(counts: Counter[int]) -> dict[str, int]:
    """Counts by class name, in the order of the class ids."""
    return {NAMES[class_id]: counts[class_id] for class_id in sorted(counts)}


def video_summary(video: Video, reading: Reading, tally: Tally, chosen: Sequence[KeyFrame], work_s: float) -> Document:
    """`videos/<video id>/summary.json`."""
    fault = reading.fault
    return {
        "schema_version": SCHEMA_VERSION,
        "video": video.name,
        "video_id": video.video_id,
        "size_bytes": video.size_bytes,
        "width": reading.width or None,
        "height": reading.height or None,
        "fps": round(reading.fps, 3) or None,
        "frames": reading.frames,
        "frames_inferred": tally.frames_inferred,
        "duration_s": round(reading.duration_s, 3) if reading.frames else None,
        "decode_and_infer_s": round(work_s, 3),
        "frames_per_s": round(reading.frames / work_s, 2) if work_s > 0 else 0.0,
        "detections": tally.detections,
        "counts": by_name(tally.counts),
        "frames_with": by_name(tally.frames_with),
        "fault": None if fault is None else {"kind": fault.kind, "message": fault.message},
        "decode_errors": reading.decode_errors,
        "timeline": [{"time_s": second, "counts": by_name(counts)} for second, counts in sorted(tally.seconds.items())],
        "key_frames": [
            {
                "file": key_frame_file(one),
                "frame": one.index,
                "time_s": round(one.time_s, 3),
                "detections": len(one.labels),
                "width": one.picture.shape[1],
                "height": one.picture.shape[0],
            }
            for one in chosen
        ],
    }


def key_frame_file(chosen: KeyFrame) -> str:
    """Path of a key frame in the video's folder."""
    return f"frames/{chosen.index:06d}.jpg"


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
