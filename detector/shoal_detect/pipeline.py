"""One video from file to results: decode, fit, infer, select, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import av.error

from shoal_detect.model.classes import NAMES
from shoal_detect.model.infer import Model
from shoal_detect.model.letterbox import Fit, FloatArray, blob, fit, to_frame
from shoal_detect.model.nms import select
from shoal_detect.pictures.key_frames import Found, KeyFrame, KeyFrames, key_frames
from shoal_detect.progress import VideoProgress
from shoal_detect.read.decode import Fault, Frame, Reading, read_frames
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


def detect_video(video: Video, work: Work, progress: VideoProgress) -> Document:
    """Process one video into its folder and return its summary.

    Raises Interrupted between frames, and DetectorError(STATE); either leaves nothing under the final name.
    """
    part = store.begin_video(work.settings.state, video.video_id)
    started = time.monotonic()
    reading, tally = Reading(), Tally()
    with store.appending(part / "detections.jsonl") as write:
        chosen = _detect(video, work, progress, reading, tally, write=write, start_frame=store.start_frame(part))
    for one in chosen:
        store.write_file(part / key_frame_file(one), one.jpeg())
    summary = video_summary(video, reading, tally, chosen, time.monotonic() - started)
    store.write_file(part / "summary.json", store.to_json(summary))
    store.finish_video(part, store.videos_folder(work.settings.state) / video.video_id)
    return summary


def _detect(
    video: Video,
    work: Work,
    progress: VideoProgress,
    reading: Reading,
    tally: Tally,
    *,
    write: Callable[[bytes], None],
    start_frame: int,
) -> list[KeyFrame]:
    """Fill `reading` and `tally`, write the detections, and return the key frames."""
    chosen: KeyFrames | None = None
    with closing(prefetch(_prepare(video, work, reading, start_frame), AHEAD)) as prepared:
        for frame, place, data in prepared:
            found = _infer(data, place, work)
            if found:
                write(b"".join(_line(video, frame, one) for one in found))
            tally.add(frame.time_s, found)
            if chosen is None:
                progress.frames_expected = reading.frames_expected
                chosen = key_frames(work.settings.key_frames, _expected_s(reading))
            chosen.offer(frame, found)
            progress.tick(frame.index + 1, tally.detections)
    work.stop.check()
    return chosen.chosen if chosen else []


def _prepare(video: Video, work: Work, reading: Reading, start_frame: int) -> Generator[Prepared, None, None]:
    """The frames to infer, fitted into the model's input; the others are only decoded.

    Raises Interrupted, which the prefetching thread hands over to the main one.
    """
    for frame in read_frames(video, reading):
        work.stop.check()
        if frame.index % work.settings.stride or frame.index < start_frame:
            continue
        place = fit(frame.width, frame.height, work.settings.img)
        try:
            data = blob(frame.image, place)
        except (av.error.FFmpegError, ValueError) as error:
            reading.fault = Fault("unreadable", f"frame {frame.index} cannot be converted to RGB: {error}")
            return
        yield frame, place, data


def _infer(data: FloatArray, place: Fit, work: Work) -> list[Found]:
    boxes = select(
        work.model.infer(data),
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
