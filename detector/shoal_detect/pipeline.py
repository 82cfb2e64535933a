"""One video from file to results: decode, fit, infer, select, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import av.error

from shoal_detect.events import seen_file
from shoal_detect.events.look import Looker, covered_classes, sighted
from shoal_detect.events.pictures import AROUND_S, covered
from shoal_detect.events.sightings import Seen
from shoal_detect.model.classes import NAMES
from shoal_detect.model.infer import Model
from shoal_detect.model.letterbox import Fit, Fitter, FloatArray, fit, to_frame
from shoal_detect.model.nms import select
from shoal_detect.pictures.key_frames import Found, KeyFrame, KeyFrames, key_frames
from shoal_detect.progress import VideoProgress
from shoal_detect.read.decode import Frame, Reading, read_frames
from shoal_detect.read.faults import Fault, Kind
from shoal_detect.read.prefetch import prefetch
from shoal_detect.read.videos import Video
from shoal_detect.state import store
from shoal_detect.state.settings import Settings
from shoal_detect.state.store import Document
from shoal_detect.state.summary import Tally, key_frame_file, video_summary
from shoal_detect.stop import Stop

AHEAD = 2
"""Frames decoded and fitted while the model works on one."""

Prepared = tuple[Frame, Fit, FloatArray]


@dataclass(frozen=True, slots=True)
class Work:
    """What a video is processed with."""

    settings: Settings
    model: Model
    stop: Stop
    alive: Callable[[int], None]
    """Called as a sign of life, with the number of frames read so far."""


@dataclass(frozen=True, slots=True)
class Rescue:
    """A second try of a video that the decoder died of: as far as it came, and why not further."""

    frames: int
    fault: Fault


def detect_video(video: Video, work: Work, progress: VideoProgress, rescue: Rescue | None = None) -> Document:
    """Process one video into its folder and return its summary.

    Raises Interrupted between frames, and DetectorError(STATE); either leaves nothing under the final name.
    """
    part = store.begin_video(work.settings.state, video.video_id)
    started = time.monotonic()
    reading, tally = Reading(), Tally()
    with store.appending(part / "detections.jsonl") as write, store.appending(part / seen_file.FILE) as note:
        frames = _frames(video, work, reading, rescue)
        prepared = _prepare(frames, work, reading, store.start_frame(part))
        chosen = _detect(prepared, work, progress, reading, _Results(video, write, tally, note))
    if rescue is not None:
        reading.fault = rescue.fault
    chosen = [safe for one in chosen if (safe := _safe(one, part, work)) is not None]
    for one in chosen:
        store.write_file(part / key_frame_file(one), one.jpeg())
    summary = video_summary(video, reading, tally, chosen, time.monotonic() - started)
    store.write_file(part / "summary.json", store.to_json(summary))
    store.finish_video(part, store.videos_folder(work.settings.state) / video.video_id)
    return summary


def _safe(chosen: KeyFrame, part: Path, work: Work) -> KeyFrame | None:
    """The key frame with everybody covered whom the run's privacy covers; None where that cannot be made sure."""
    class_ids = covered_classes(work.settings.privacy)
    if not class_ids:
        return chosen
    start_s, end_s = chosen.time_s - AROUND_S, chosen.time_s + AROUND_S
    with store.state_errors("read", part):
        seen = list(seen_file.read_seen(part / seen_file.FILE, start_s, end_s))
    looker = Looker(work.model, work.settings.img, class_ids)
    picture = covered(chosen.picture, chosen.time_s, seen, looker)
    return None if picture is None else replace(chosen, picture=picture)


def _frames(video: Video, work: Work, reading: Reading, rescue: Rescue | None) -> Iterator[Frame]:
    def alive() -> None:
        work.stop.check()
        work.alive(reading.frames)

    if rescue is None:
        return read_frames(video, reading, alive=alive)
    return read_frames(video, reading, rescue.frames, alive) if rescue.frames else iter(())


@dataclass(frozen=True, slots=True)
class _Results:
    """Where a video's detections go."""

    video: Video
    write: Callable[[bytes], None]
    tally: Tally
    note: Callable[[bytes], None]
    """Takes what has to be covered."""

    def add(self, frame: Frame, found: list[Found], seen: Seen) -> None:
        """Write and count those of one frame."""
        self.note(seen_file.to_line(seen))
        if found:
            self.write(b"".join(_line(self.video, frame, one) for one in found))
        self.tally.add(frame.time_s, found)


def _detect(
    prepared: Generator[Prepared, None, None],
    work: Work,
    progress: VideoProgress,
    reading: Reading,
    results: _Results,
) -> list[KeyFrame]:
    """Fill `reading` and `results`, and return the key frames."""
    chosen: KeyFrames | None = None
    covered_ids = covered_classes(work.settings.privacy)
    with closing(prefetch(prepared, AHEAD)) as ahead:
        for frame, place, data in ahead:
            rows = work.model.infer(data)
            found = _select(rows, place, work)
            results.add(frame, found, sighted(rows, place, covered_ids, frame.time_s))
            if chosen is None:
                progress.frames_expected = reading.frames_expected
                chosen = key_frames(work.settings.key_frames, _expected_s(reading))
            chosen.offer(frame, found)
            progress.tick(frame.index + 1, results.tally.detections)
    work.stop.check()
    return chosen.chosen if chosen else []


def _prepare(
    frames: Iterator[Frame], work: Work, reading: Reading, start_frame: int
) -> Generator[Prepared, None, None]:
    """The frames to infer, fitted into the model's input; the others are only decoded.

    Raises Interrupted, which the prefetching thread hands over to the main one.
    """
    fitter = Fitter()
    for frame in frames:
        work.stop.check()
        work.alive(frame.index)
        if frame.index % work.settings.stride or frame.index < start_frame:
            continue
        place = fit(frame.width, frame.height, work.settings.img, frame.pixel_aspect, square=work.model.square)
        try:
            data = fitter.blob(frame.image, place)
        except (av.error.FFmpegError, ValueError) as error:
            reading.fault = Fault(Kind.UNREADABLE, f"frame {frame.index} cannot be converted to RGB: {error}")
            return
        yield frame, place, data


def _select(rows: FloatArray, place: Fit, work: Work) -> list[Found]:
    boxes = select(
        rows,
        conf=work.settings.conf,
        iou=work.settings.iou,
        classes=work.settings.classes,
        max_detections=work.settings.max_det,
    )
    found = []
    for class_id, confidence, box in zip(
        boxes.class_id.tolist(), boxes.confidence.tolist(), to_frame(boxes.xyxy, place).tolist(), strict=True
    ):
        left, top, right, bottom = (round(edge, 1) for edge in box)
        if left < right and top < bottom:  # else it lies in the padding
            found.append(Found(class_id, NAMES[class_id], round(confidence, 4), (left, top, right, bottom)))
    return found


def _line(video: Video, frame: Frame, found: Found) -> bytes:
    return store.to_json_line(
        {
            "video": video.name,
            "frame": frame.index,
            "time_s": round(frame.time_s, 3),
            "class": found.name,
            "class_id": found.class_id,
            "confidence": found.confidence,
            "box": list(found.box),
        }
    )


def _expected_s(reading: Reading) -> float | None:
    return reading.frames_expected / reading.fps if reading.frames_expected else None
