"""One video from file to results: decode, fit, infer, select, write, segment by segment; then join the segments."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace

import av.error
import numpy as np

from shoal_detect.events import seen_file
from shoal_detect.events.look import Looker, covered_classes, sighted
from shoal_detect.events.pictures import covered
from shoal_detect.events.sightings import Seen
from shoal_detect.model.classes import NAMES
from shoal_detect.model.infer import Model
from shoal_detect.model.letterbox import Fit, Fitter, FloatArray, fit, to_frame
from shoal_detect.model.nms import select
from shoal_detect.model.precision import f1, matched
from shoal_detect.model.reuse import Cells, Known, Memory, Part, cells_of, drawn
from shoal_detect.pictures.key_frames import Drawn, Found, KeyFrame, KeyFrames, gap_s, offer
from shoal_detect.read.decode import Frame, Reading, read_frames
from shoal_detect.read.faults import Fault, Kind
from shoal_detect.read.prefetch import prefetch
from shoal_detect.read.thinning import Doubt
from shoal_detect.read.videos import Video
from shoal_detect.state import segments as kept
from shoal_detect.state import store
from shoal_detect.state.segments import Segments
from shoal_detect.state.settings import Settings
from shoal_detect.state.store import Document
from shoal_detect.state.summary import Tally, key_frame_file, video_summary
from shoal_detect.stop import Stop

AHEAD = 2
"""Frames decoded and fitted while the model works on one."""
LEAST_AUDITED = 0.98
"""F1 of a segment's audited frames against the whole model, below which it is done again without reuse."""
AROUND_S = 1.0
"""A key frame lies so far from the borders of its segment: what is covered in it depends on its neighbours."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a video is processed with."""

    settings: Settings
    model: Model
    stop: Stop
    alive: Callable[[int], None]
    """Called as a sign of life, with the number of frames read so far."""
    progressed: Callable[[Progressed], None] = lambda _: None
    end: Callable[[], int | None] = lambda: None
    """The segment before which to stop, asked again before each one; None: go on to the end of the file."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far the work on a video is."""

    segment: int
    frames: int
    """Of this stretch, those before it left out."""
    detections: int
    frames_expected: int | None


@dataclass(frozen=True, slots=True)
class Rescue:
    """A second try of a video that the decoder died of: as far as it came, and why not further."""

    frames: int
    fault: Fault


@dataclass(slots=True)
class _Stretch:
    """The segments of a video that one process works through."""

    video: Video
    work: Work
    segments: Segments
    first: int
    reading: Reading = field(default_factory=Reading)
    rescue: Rescue | None = None
    left: bool = False
    """Stopped before the end of the file, as asked."""
    left_in: int | None = None
    """The segment in which it stopped: what came of that is not the whole of it."""
    broken: bool = False
    """A frame could not be converted; the reading ended there."""
    again: set[int] = field(default_factory=set)
    """Segments of which the audit found too much wrong: they are done again without reuse."""
    whole: bool = False
    """Every frame is decoded, wanted or not."""

    def broke(self, frame: Frame, error: Exception) -> None:
        """The reading ends at a frame that cannot be converted."""
        self.reading.fault = Fault(Kind.UNREADABLE, f"frame {frame.index} cannot be converted to RGB: {error}")
        self.broken = True

    def wanted(self, frame: Frame) -> bool:
        """Whether it is to be inferred here."""
        number = self.segments.number_of(frame.index)
        return frame.index % self.work.settings.stride == 0 and number >= self.first and not self.done(number)

    def done(self, number: int) -> bool:
        """Whether a segment is kept; one that the decoder's death cut short is done anew."""
        cut = self.rescue is not None and (number + 1) * self.segments.length > self.rescue.frames
        return not cut and self.segments.done(number)


def detect_video(video: Video, work: Work, first: int = 0, rescue: Rescue | None = None) -> Document | Reading | None:
    """Work through a video from segment `first` on, and return its summary where with that all of it is done.

    Else, where the end of the file was reached, what was read: `finish` takes it, once the other segments are done.
    None where the work stopped before, as `work.end` asked for. Raises Interrupted between frames, and
    DetectorError(STATE); segments that are done by then are kept.
    """
    segments = kept.of(work.settings.state, video, work.settings.stride)
    if first == 0:
        kept.take_up(segments, video)
    stretch = _surely(_Stretch(video, work, segments, first, rescue=rescue))
    if stretch.again:
        # All else of the stretch is kept: only these are inferred. The pool shares a video out by the frames that are
        # expected of it: without them none of these segments is given to a second process.
        last = max(stretch.again) + 1
        only = replace(
            work, end=lambda: last, progressed=lambda now: work.progressed(replace(now, frames_expected=None))
        )
        reading, again = Reading(), set(stretch.again)
        _surely(replace(stretch, work=only, reading=reading, left=False, left_in=None, broken=False, again=again))
    if stretch.left:
        return None
    reading = stretch.reading
    if rescue is not None:
        reading.fault = rescue.fault
    if stretch.broken or is_whole(video, reading, work.settings):
        return finish(video, reading, work.settings)
    return reading


def _surely(stretch: _Stretch) -> _Stretch:
    """The stretch worked through; where frames were left undecoded and something was unusual, with all of them decoded.

    Segments that are done by then stay: up to there nothing was unusual.
    """
    try:
        _detect(stretch)
    except Doubt:
        stretch = replace(stretch, reading=Reading(), again=set(stretch.again), whole=True)
        _detect(stretch)
    return stretch


def is_whole(video: Video, reading: Reading, settings: Settings) -> bool:
    """Whether all segments of a video that was read are done."""
    segments = kept.of(settings.state, video, settings.stride)
    count = segments.count(reading.frames)
    return segments.done_in_a_row(count) == count


def finish(video: Video, reading: Reading, settings: Settings) -> Document:
    """Join the segments into the video's folder, and return its summary. Raises DetectorError(STATE)."""
    segments = kept.of(settings.state, video, settings.stride)
    count = segments.done_in_a_row(segments.count(reading.frames))
    tally, documents = kept.joined(segments, count)
    chosen = _chosen(documents, settings, reading)
    store.drop_part(settings.state, video.video_id)
    part = store.begin_video(settings.state, video.video_id)
    with store.appending(part / "detections.jsonl") as write, store.appending(part / seen_file.FILE) as note:
        for number in range(count):
            write(segments.detections(number))
            note(segments.people(number))
    for one in chosen:
        store.write_file(part / key_frame_file(one), one.jpeg)
    work_s = sum(document["work_s"] for document in documents)
    summary = video_summary(video, reading, tally, chosen, work_s, reuse=settings.reuse)
    store.write_file(part / "summary.json", store.to_json(summary))
    store.finish_video(part, store.videos_folder(settings.state) / video.video_id)
    segments.remove()
    return summary


def _chosen(documents: Sequence[Document], settings: Settings, reading: Reading) -> list[Drawn]:
    """The best of the segments' pictures."""
    best = KeyFrames[Drawn](settings.key_frames, gap_s(settings.key_frames, _expected_s(reading)))
    for document in documents:
        for one in document["pictures"]:
            drawn = Drawn(**one)
            best.offer(drawn.time_s, drawn.score, lambda drawn=drawn: drawn)  # type: ignore[misc]
    return best.chosen


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A frame to infer."""

    frame: Frame
    place: Fit
    data: FloatArray | None
    """The model's input; None where it is made only when it is needed."""
    cells: Cells | None
    """What the frame is compared by, where reuse is on."""
    expected_s: float | None
    """Duration of the video, as far as it is known at this frame."""


def _detect(stretch: _Stretch) -> None:
    """Infer and keep the stretch's segments, and fill its reading."""
    work, found_so_far, segment = stretch.work, 0, -1
    covered_ids = covered_classes(work.settings.privacy)
    with ExitStack() as stack, closing(prefetch(_prepare(stretch), AHEAD)) as ahead:
        for prepared in ahead:
            frame = prepared.frame
            number = stretch.segments.number_of(frame.index)
            if number != segment:
                stack.close()
                results = _Results(stretch, number, prepared.expected_s)
                stack.enter_context(results)
                segment = number
            try:
                looked = results.eyes.look(prepared)
            except _Unconverted as error:
                stretch.broke(frame, error)
                break
            found = _select(looked, prepared.place, work)
            people = sighted(looked.known.rows, prepared.place, covered_ids, frame.time_s)
            results.add(frame, found, people, looked.seen)
            found_so_far += len(found)
            frames = frame.index + 1 - stretch.first * stretch.segments.length
            work.progressed(Progressed(number, frames, found_so_far, stretch.reading.frames_expected))
        work.stop.check()
        stack.close()


class _Results:
    """Where a segment's detections go while it is in hand; kept at its end unless an error ends it."""

    def __init__(self, stretch: _Stretch, number: int, expected_s: float | None) -> None:
        self._video, self._segments, self._number = stretch.video, stretch.segments, number
        self._stretch = stretch
        limit = stretch.work.settings.key_frames
        self._pictures = KeyFrames[KeyFrame](limit, gap_s(limit, expected_s))
        self._tally = Tally(segments_redone=int(number in stretch.again))
        # Each segment begins with a whole frame: it does not depend on who did the one before.
        self.eyes = _Eyes(stretch, number not in stretch.again, self._tally)
        self._seen: list[Seen] = []
        self._stack = ExitStack()

    def __enter__(self) -> None:
        self._begun = time.monotonic()
        self._segments.drop(self._number)
        self._write = self._stack.enter_context(self._segments.writing(self._number))
        self._note = self._stack.enter_context(self._segments.noting(self._number))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        if self._stretch.left_in == self._number:
            return
        if kind is None and f1(self._tally.audited) < LEAST_AUDITED:
            self._stretch.again.add(self._number)
        elif kind is None:
            document = {"tally": self._tally.document(), "work_s": round(time.monotonic() - self._begun, 3)}
            pictures = [safe.drawn() for one in self._pictures.chosen if (safe := self._safe(one)) is not None]
            self._segments.keep(self._number, document, pictures)

    def _safe(self, chosen: KeyFrame) -> KeyFrame | None:
        """The key frame with all covered whom the run's privacy covers; None where that cannot be made sure."""
        work = self._stretch.work
        class_ids = covered_classes(work.settings.privacy)
        if not class_ids:
            return chosen
        picture = covered(chosen.picture, chosen.time_s, self._seen, Looker(work.model, work.settings.img, class_ids))
        return None if picture is None else replace(chosen, picture=picture)

    def _has_neighbours(self, frame: Frame) -> bool:
        """Whether the frames around it are in this segment too: what was seen in them says what is to be covered."""
        around = round(AROUND_S * (self._stretch.reading.fps or 1))
        place, length = frame.index - self._number * self._segments.length, self._segments.length
        return (self._number == 0 or place >= around) and place < length - around

    def add(self, frame: Frame, found: list[Found], people: Seen, seen: float) -> None:
        """Write and count those of one frame, of which the model saw so much."""
        self._seen.append(people)
        self._note(seen_file.to_line(people))
        if found:
            self._write(b"".join(_line(self._video, frame, one) for one in found))
        self._tally.add(frame.time_s, found, seen)
        if self._has_neighbours(frame):
            offer(self._pictures, frame, found)


def _frames(stretch: _Stretch) -> Iterator[Frame]:
    work, rescue, reading = stretch.work, stretch.rescue, stretch.reading

    def alive() -> None:
        work.stop.check()
        work.alive(reading.frames)

    if rescue is None:
        return read_frames(stretch.video, reading, alive=alive, stride=1 if stretch.whole else work.settings.stride)
    return read_frames(stretch.video, reading, rescue.frames, alive) if rescue.frames else iter(())


def _prepare(stretch: _Stretch) -> Generator[_Prepared, None, None]:
    """The frames to infer, fitted into the model's input; the others are only decoded.

    Raises Interrupted, which the prefetching thread hands over to the main one.
    """
    fitter, work, reading = Fitter(), stretch.work, stretch.reading
    settings = work.settings
    for frame in _frames(stretch):
        work.stop.check()
        work.alive(frame.index)
        end = work.end()
        number = stretch.segments.number_of(frame.index)
        if end is not None and number >= end:
            stretch.left, stretch.left_in = True, None if frame.index % stretch.segments.length == 0 else number
            return
        if not stretch.wanted(frame):
            continue
        place = fit(frame.width, frame.height, settings.img, frame.pixel_aspect, square=work.model.square)
        try:
            reuse = settings.reuse and number not in stretch.again
            data = None if reuse else fitter.blob(frame.image, place)
            cells = cells_of(fitter.luma(frame.image), place) if reuse else None
        except (av.error.FFmpegError, ValueError) as error:
            stretch.broke(frame, error)
            return
        yield _Prepared(frame, place, data, cells, _expected_s(reading))


class _Unconverted(Exception):  # noqa: N818 - an outcome of a frame
    """The frame cannot be converted to RGB."""


@dataclass(frozen=True, slots=True)
class _Looked:
    """What is known of a frame, and how much of it the model saw."""

    known: Known
    seen: float = 1.0


class _Eyes:
    """Looks at the frames of a segment with the model, and reuses what it saw where the settings ask for it."""

    def __init__(self, stretch: _Stretch, reuse: bool, tally: Tally) -> None:
        self._work, self._video, self._tally = stretch.work, stretch.video, tally
        self._memory = Memory(self._work.settings.conf) if reuse and self._work.settings.reuse else None
        self._fitter = Fitter()

    def look(self, prepared: _Prepared) -> _Looked:
        """What is known of a frame. Raises _Unconverted."""
        if self._memory is None or prepared.cells is None:
            return _Looked(Known(self._work.model.infer(self._blob(prepared))))
        blob: list[FloatArray] = []
        seen_px = 0

        def infer(part: Part) -> FloatArray:
            nonlocal seen_px
            if not blob:
                blob.append(self._blob(prepared))
            seen_px += part.area
            inside = blob[0][:, :, part.top : part.bottom, part.left : part.right]
            rows = self._work.model.infer(np.ascontiguousarray(inside))
            rows[:, 0] += part.left
            rows[:, 1] += part.top
            return rows

        known = self._memory.look(prepared.cells, infer)
        if known is not None and not drawn(self._video.video_id, prepared.frame.index):
            place = prepared.place
            return _Looked(known, seen_px / (place.input_width * place.input_height))
        exact = _Looked(
            self._memory.whole(prepared.cells, self._work.model.infer(blob[0] if blob else self._blob(prepared)))
        )
        if known is not None:
            self._audit(_Looked(known), exact, prepared.place)
        return exact

    def _blob(self, prepared: _Prepared) -> FloatArray:
        if prepared.data is not None:
            return prepared.data
        try:
            return self._fitter.blob(prepared.frame.image, prepared.place)
        except (av.error.FFmpegError, ValueError) as error:
            raise _Unconverted(str(error)) from None

    def _audit(self, written: _Looked, exact: _Looked, place: Fit) -> None:
        found, expected = (
            [(one.class_id, one.box) for one in _select(looked, place, self._work)] for looked in (written, exact)
        )
        self._tally.audited_frames += 1
        self._tally.audited.update(found=len(found), expected=len(expected), matched=matched(found, expected))


def _select(looked: _Looked, place: Fit, work: Work) -> list[Found]:
    boxes = select(
        looked.known.rows,
        conf=work.settings.conf,
        iou=work.settings.iou,
        classes=work.settings.classes,
        max_detections=work.settings.max_det,
    )
    xyxy, carried = to_frame(boxes.xyxy, place), looked.known.carried(boxes.xyxy)
    found = []
    for class_id, confidence, box, old in zip(
        boxes.class_id.tolist(), boxes.confidence.tolist(), xyxy.tolist(), carried.tolist(), strict=True
    ):
        left, top, right, bottom = (round(edge, 1) for edge in box)
        if left < right and top < bottom:  # else it lies in the padding
            found.append(
                Found(class_id, NAMES[class_id], round(confidence, 4), (left, top, right, bottom), carried=old)
            )
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
            **({"carried": True} if found.carried else {}),
        }
    )


def _expected_s(reading: Reading) -> float | None:
    return reading.frames_expected / reading.fps if reading.frames_expected else None
