"""The trial of bfloat16 against float32 on a run's own first frames."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import av.error

from shoal_detect.model import bfloat16
from shoal_detect.model.infer import load_model
from shoal_detect.model.letterbox import Fit, Fitter, FloatArray, fit
from shoal_detect.model.nms import select
from shoal_detect.model.precision import Box, Choice, Precision, Trial, f1, judged, matched
from shoal_detect.read.decode import Reading, read_frames
from shoal_detect.read.videos import Video
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

FRAMES = 24
"""Of the trial, which costs a few seconds; a camera's frame has some five boxes."""
VIDEOS = 8
"""Over which they are spread, the first of the run."""
EMPTY = 12
"""Frames of the trial after which it ends where float32 found no box in any: it would come to nothing."""
APART = 8
"""Inferred frames from one to the next: neighbours say the same twice."""


def tried(data: bytes, videos: Sequence[Video], settings: Settings, stop: Stop, alive: Callable[[int], None]) -> Choice:
    """Which precision this run is done in. Depends on the footage, the settings and this machine's processor only.

    `alive` is called before every read of a file. Raises DetectorError where the weights are unusable, and Interrupted.
    """
    reason = bfloat16.lacking()
    if reason is not None:
        return Choice(Precision.FLOAT32, reason)
    models = [load_model(data, size=settings.img, precision=one) for one in Precision]
    least_s = [float("inf")] * len(models)
    counts, frames, shapes = Counter[str](), 0, set[tuple[int, ...]]()
    for blob in _blobs(videos, settings, models[0].square, stop, alive):
        answers = []
        for number, model in enumerate(models):
            if blob.shape not in shapes:
                model.infer(blob)  # a new size costs more the first time
            begun = time.process_time()
            rows = model.infer(blob)
            least_s[number] = min(least_s[number], time.process_time() - begun)
            answers.append(_boxes(rows, settings))
            stop.check()
            alive(0)
        shapes.add(blob.shape)
        exact, other = answers
        counts.update(expected=len(exact), found=len(other), matched=matched(other, exact))
        frames += 1
        if frames == EMPTY and not counts["expected"]:
            break
    if not frames:
        return Choice(Precision.FLOAT32, "there was no frame to try on")
    exact_ms, other_ms = (round(seconds * 1000, 1) for seconds in least_s)
    return judged(Trial(frames, counts["expected"], f1(counts), exact_ms, other_ms))


def _blobs(
    videos: Sequence[Video], settings: Settings, square: bool, stop: Stop, alive: Callable[[int], None]
) -> Iterator[FloatArray]:
    """Fitted frames from the first videos that have any."""
    first = [video for video in videos if video.problem is None][:VIDEOS]
    if not first:
        return
    each = -(-FRAMES // len(first))
    apart = APART * settings.stride
    fitter = Fitter()

    def look() -> None:
        stop.check()
        alive(0)

    for video in first:
        for frame in read_frames(video, Reading(), apart * (each - 1) + 1, look):
            if frame.index % apart:
                continue
            place: Fit = fit(frame.width, frame.height, settings.img, frame.pixel_aspect, square=square)
            try:
                yield fitter.blob(frame.image, place)
            except (av.error.FFmpegError, ValueError):
                break  # the run itself will say so


def _boxes(rows: FloatArray, settings: Settings) -> list[Box]:
    found = select(
        rows, conf=settings.conf, iou=settings.iou, classes=settings.classes, max_detections=settings.max_det
    )
    return list(zip(found.class_id.tolist(), found.xyxy.tolist(), strict=True))
