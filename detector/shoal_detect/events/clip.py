"""Makes a clip: decodes, covers, encodes whole, and then looks at what came out as a stranger would.

Nothing of the recording is copied: a stream copy keeps footage from before the cut in the file, behind an edit list.
The file holds H.264 in yuv420p, no sound, no metadata, no edit list. It has a temporary name until it is verified.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.bitstream import BitStreamFilterContext

from shoal_detect.events.look import VERIFY_CONF, Eyes
from shoal_detect.events.masks import COVER, Rect, painted, plan, planned
from shoal_detect.events.sightings import Seen
from shoal_detect.read.decode import Frame

Picture = npt.NDArray[np.uint8]

TIME_BASE = Fraction(1, 90_000)
FILL = (44, 128, 128)
"""Y, U and V of what covers: a dark grey."""
TOLERANCE = 20
"""How far a decoded pixel of the fill may be from it, of 255: an encoder rounds."""
QUALITIES = ("28", "23", "18")
"""x264's constant rate factor at each try, finer from one to the next."""
CODEC_OPTIONS = {
    "preset": "veryfast",
    # No frame is shown in another order than it is stored: the file needs no edit list to say when it begins.
    # Transforms are no larger than the grid that covers keep to, and what shows for a moment only is not coarser than
    # the rest: the fill is kept to a few levels of grey. The same bytes on every processor.
    "x264-params": "bframes=0:8x8dct=0:mbtree=0:psy=0:cpu-independent=1:keyint=50",
    "flags": "+bitexact",
}
CONTAINER_OPTIONS = {"movflags": "+faststart", "use_editlist": "0", "fflags": "+bitexact"}
NO_SEI = "filter_units=remove_types=6"
"""x264 writes its version and settings into a message in the stream (SEI, unit type 6)."""
LOOK_AROUND_S = COVER.hold_s
"""Before and after the clip its footage is looked at too: who comes in just after it is covered as they come."""
VERIFY_EVERY_S = 0.3
"""In a finished clip the detector looks at one frame in so long, the first and the last always. That is less than
`COVER.union_s`: whatever a looked-at frame shows is covered in all frames between it and the next, too. All frames were
looked at before, at a lower threshold; the second look is for what only a covered picture shows, and for a plan that is
not kept, which shows in one frame as in the next. Where it finds a person, all frames of the next try are looked at."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""What only writing meets: the clip can be made when the disk takes it."""
OUTSIDE = 0.2
"""A box found in a finished clip shows somebody where more than this share of it is not fill."""


class Unmade(Exception):  # noqa: N818 - an outcome of a clip
    """Why there is no clip, as a sentence without an end."""


class Unverified(Exception):  # noqa: N818 - an outcome of a clip
    """Why a clip that was made may not leave."""


class ChangedError(Unmade):
    """The footage is not what it was."""


class BadFillError(Unverified):
    """The encoder was too coarse."""


@dataclass(frozen=True, slots=True)
class Made:
    """A finished, verified clip."""

    sha256: str
    size_bytes: int
    frames: int
    start_s: float
    end_s: float
    picture: av.VideoFrame = field(compare=False)
    """The frame nearest to the moment that was asked for."""


@dataclass(frozen=True, slots=True)
class Footage:
    """The frames of a clip, as often as they are asked for, with their camera times."""

    frames: Callable[[float, float], Iterator[tuple[float, Frame]]]
    """Between two camera times."""
    start_s: float
    end_s: float
    alive: Callable[[], None]
    """Called at every frame; what it raises ends the work."""
    margin_s: float = 0.0
    """So much before and after is looked at too: who comes in just then is covered as they come."""
    seen: Sequence[Seen] | None = None
    """What the same model saw in every frame of it already, the margins included; None: it has to look."""


def make(footage: Footage, looker: Eyes | None, path: Path, key_s: float | None = None) -> Made:
    """Make and verify the clip at `path`. `looker` sees what is to be covered; None: nothing is.

    What is still seen in the finished clip is covered as well, and it is made again; at the last try it is given up.
    Its picture is the one at the camera time `key_s`; None: the first. Raises Unmade, Unverified (the clip is at
    `path`), OSError, and what `footage.alive` raises.
    """
    before = _seen_before(footage)
    if before is not None:
        try:
            return _make(footage, before, looker, path, key_s)
        except ChangedError:
            pass  # not the frames that detection saw: they are looked at anew
    return _make(footage, _first_pass(footage, looker), looker, path, key_s)


def _make(footage: Footage, look: _Look, looker: Eyes | None, path: Path, key_s: float | None) -> Made:
    seen, every_s = look.seen, VERIFY_EVERY_S
    key = 0 if key_s is None else int(np.abs(np.array(look.times) - key_s).argmin())
    for quality in QUALITIES:
        boxes = plan(look.times, seen)
        pixel_aspect = _encode(footage, look.times, boxes, path, quality)
        whole = _Planned(look.times, boxes, pixel_aspect, every_s, key)
        try:
            found, picture = _verify(path, whole, looker, footage.alive)
        except BadFillError as error:
            wrong: Unverified = error
        else:
            if not found:
                return _made(path, look.times, picture)
            where = ", ".join(f"{one.time_s - look.times[0]:.1f} s" for one in found[:3])
            wrong = Unverified(f"somebody is still seen in {len(found)} of its frames (at {where})")
            seen, every_s = _merged(seen, found), 0.0
    raise wrong


def _made(path: Path, times: Sequence[float], picture: av.VideoFrame) -> Made:
    size_bytes, digest = 0, hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            size_bytes += len(chunk)
    return Made(digest.hexdigest(), size_bytes, len(times), times[0], times[-1], picture)


@dataclass(frozen=True, slots=True)
class _Look:
    times: list[float]
    """Of the clip's frames."""
    seen: Sequence[Seen]
    """In them and around them."""


def _seen_before(footage: Footage) -> _Look | None:
    if footage.seen is None:
        return None
    times = [one.time_s for one in footage.seen if footage.start_s <= one.time_s <= footage.end_s]
    return _Look(times, footage.seen) if times else None


def _first_pass(footage: Footage, looker: Eyes | None) -> _Look:
    times: list[float] = []
    seen: list[Seen] = []
    margin_s = footage.margin_s if looker is not None else 0.0
    for time_s, frame in footage.frames(footage.start_s - margin_s, footage.end_s + margin_s):
        footage.alive()
        if footage.start_s <= time_s <= footage.end_s:
            times.append(time_s)
        if looker is not None:
            seen.append(_look(looker, frame, time_s))
    if not times:
        raise Unmade("its footage shows no frame")
    return _Look(times, seen)


def _look(looker: Eyes, frame: Frame, time_s: float) -> Seen:
    try:
        return looker.look(frame.image, time_s, frame.pixel_aspect)
    except (av.error.FFmpegError, ValueError) as error:
        raise Unmade(f"a frame cannot be converted: {error}") from None


def _merged(seen: Sequence[Seen], found: Iterable[Seen]) -> list[Seen]:
    """What was found in the finished clip, as if it had been seen at first."""
    more = {one.time_s: one for one in found}
    merged = []
    for one in seen:
        other = more.get(one.time_s)
        if other is not None:
            one = Seen(  # noqa: PLW2901 - both together
                one.time_s,
                np.concatenate([one.boxes, other.boxes]),
                # It is there, whatever confidence it had: found once is enough.
                np.concatenate([one.confidence, np.maximum(other.confidence, VERIFY_CONF)]),
                np.concatenate([one.class_id, other.class_id]),
            )
        merged.append(one)
    return merged


def _encode(
    footage: Footage,
    times: Sequence[float],
    boxes: Sequence[npt.NDArray[np.float64]],
    path: Path,
    quality: str,
) -> float:
    """Write the covered clip, and return its pixels' width by their height. Raises Unmade, ChangedError where the
    footage is not what it was when it was looked at, and OSError where the disk takes no clip."""
    writer: _Writer | None = None
    count, pixel_aspect = 0, 1.0
    try:
        for time_s, frame in footage.frames(footage.start_s, footage.end_s):
            footage.alive()
            if count == len(times) or time_s != times[count]:
                raise ChangedError("the footage changed while the clip was made")
            if writer is None:
                pixel_aspect = frame.pixel_aspect
                writer = _Writer.at(path, frame, quality)
            writer.write(_covered(frame, boxes[count], writer.width, writer.height), time_s - times[0])
            count += 1
        if writer is None or count != len(times):
            raise ChangedError("the footage changed while the clip was made")
        writer.finish()
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, av.error.FFmpegError) and error.errno in NO_ROOM:
            raise OSError(error.errno, os.strerror(error.errno)) from None
        raise Unmade(f"it cannot be encoded: {error}") from None
    finally:
        if writer is not None:
            with suppress(av.error.FFmpegError):  # what went wrong is raised already
                writer.close()
    return pixel_aspect


def _covered(frame: Frame, boxes: npt.NDArray[np.float64], width: int, height: int) -> Picture:
    """The frame in yuv420p, [3/2 height, width], with everything planned filled."""
    image = frame.image.reformat(width, height, "yuv420p", threads=1)
    picture = np.array(image.to_ndarray(), dtype=np.uint8)
    cover(picture, [painted(rect, width, height) for rect in planned(boxes, width, height)])
    return picture


def cover(picture: Picture, rects: Iterable[Rect]) -> None:
    """Fill rectangles of even edges in a yuv420p picture."""
    planes = _planes(picture)
    for rect in rects:
        for plane, value, half in zip(planes, FILL, (1, 2, 2), strict=True):
            plane[rect.top // half : -(-rect.bottom // half), rect.left // half : -(-rect.right // half)] = value


def _planes(picture: Picture) -> tuple[Picture, Picture, Picture]:
    """Views of Y, U and V; U and V have half the width and height."""
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    chroma = (height // 2) * (width // 2)
    flat = picture.reshape(-1)
    shape = (height // 2, width // 2)
    first = height * width
    return (
        picture[:height],
        flat[first : first + chroma].reshape(shape),
        flat[first + chroma : first + 2 * chroma].reshape(shape),
    )


@dataclass
class _Writer:
    """An MP4 file being written."""

    container: av.container.OutputContainer
    stream: av.VideoStream
    no_sei: BitStreamFilterContext | None = None

    @classmethod
    def at(cls, path: Path, first: Frame, quality: str) -> _Writer:
        container = av.open(str(path), "w", format="mp4", options=CONTAINER_OPTIONS)
        stream = container.add_stream("libx264", rate=25, options={**CODEC_OPTIONS, "crf": quality})
        # Even sides, as yuv420p has them.
        stream.width, stream.height = max(2, first.width & ~1), max(2, first.height & ~1)
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = TIME_BASE
        stream.codec_context.sample_aspect_ratio = Fraction(first.pixel_aspect).limit_denominator(255)
        stream.codec_context.thread_count = 1
        return cls(container, stream)

    @property
    def width(self) -> int:
        return self.stream.width

    @property
    def height(self) -> int:
        return self.stream.height

    def write(self, picture: Picture, time_s: float) -> None:
        image = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        image.pts, image.time_base = round(time_s / TIME_BASE), TIME_BASE
        self._mux(self.stream.encode(image))

    def finish(self) -> None:
        self._mux(self.stream.encode(None))
        if self.no_sei is not None:
            self.container.mux(self.no_sei.filter(None))
        self.container.close()

    def _mux(self, packets: Iterable[av.Packet[av.VideoStream]]) -> None:
        for packet in packets:
            if self.no_sei is None:
                # Opens the file: only then is it known how the stream keeps its units apart.
                self.container.start_encoding()
                self.no_sei = BitStreamFilterContext(NO_SEI, self.stream, self.stream)
            self.container.mux(self.no_sei.filter(packet))

    def close(self) -> None:
        self.container.close()


@dataclass(frozen=True, slots=True)
class _Planned:
    """What a finished clip has to be."""

    times: Sequence[float]
    boxes: Sequence[npt.NDArray[np.float64]]
    pixel_aspect: float
    every_s: float
    """Time between the frames that the detector looks at, at most."""
    key: int
    """The frame whose picture is wanted."""


def looked_at(times: Sequence[float], every_s: float) -> set[int]:
    """Numbers of the frames that are looked at: no longer than `every_s` apart where the frames are not, with the first
    and the last.

    >>> sorted(looked_at([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], 0.2))
    [0, 2, 4, 5]
    """
    chosen = {0, len(times) - 1}
    last_s = times[0]
    for number in range(1, len(times) - 1):
        if times[number + 1] - last_s > every_s + 1e-6:
            chosen.add(number)
            last_s = times[number]
    return chosen


def _verify(
    path: Path, planned_clip: _Planned, looker: Eyes | None, alive: Callable[[], None]
) -> tuple[list[Seen], av.VideoFrame]:
    """Decode the clip and hold it against the plan: frames in which somebody is seen outside of the fill, and its
    picture. Raises Unverified where the file is not what was planned.
    """
    found, times, count = [], planned_clip.times, 0
    picture: av.VideoFrame | None = None
    strict = None if looker is None else looker.strict()
    chosen = looked_at(times, planned_clip.every_s)
    try:
        for image in decoded(path):
            alive()
            if count == len(times):
                raise Unverified(f"it has more than the {len(times)} frames that were planned")
            rects = planned(planned_clip.boxes[count], image.width, image.height)
            pixels = np.array(image.to_ndarray(), dtype=np.uint8)
            _check_fill(pixels, rects, count)
            if strict is not None and count in chosen:
                seen = uncovered(strict.look(image, times[count], planned_clip.pixel_aspect), pixels, rects)
                found += [seen] if len(seen.boxes) else []
            picture = image if count == planned_clip.key else picture
            count += 1
    except (av.error.FFmpegError, ValueError) as error:
        raise Unverified(f"it cannot be decoded again: {error}") from None
    if count != len(times) or picture is None:
        raise Unverified(f"it has {count} frames in place of {len(times)}")
    return found, picture


def decoded(path: Path) -> Iterator[av.VideoFrame]:
    """The frames of a finished clip. Raises Unverified where the file holds anything beside them."""
    with av.open(str(path)) as container:
        if len(container.streams) != 1 or len(container.streams.video) != 1:
            raise Unverified("it holds more than its pictures")
        stream = container.streams.video[0]
        if stream.codec_context.name != "h264" or stream.codec_context.pix_fmt != "yuv420p":
            raise Unverified(f"it is {stream.codec_context.name} in {stream.codec_context.pix_fmt}")
        stream.thread_type = "NONE"
        yield from container.decode(stream)


def _check_fill(picture: Picture, rects: Iterable[Rect], number: int) -> None:
    planes = _planes(picture)
    for rect in rects:
        for plane, value, half in zip(planes, FILL, (1, 2, 2), strict=True):
            inside = plane[rect.top // half : -(-rect.bottom // half), rect.left // half : -(-rect.right // half)]
            off = max(int(inside.max(initial=value)) - value, value - int(inside.min(initial=value)))
            if off > TOLERANCE:
                raise BadFillError(f"frame {number} shows something inside its cover (off by {off} of 255)")


def uncovered(seen: Seen, picture: Picture, rects: Sequence[Rect]) -> Seen:
    """Those boxes of which a good part is not covered: the fill shows no person, whatever its outline looks like."""
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    filled = np.zeros((height, width), dtype=bool)
    for rect in (painted(one, width, height) for one in rects):
        filled[rect.top : rect.bottom, rect.left : rect.right] = True
    keep = []
    for index in range(len(seen.boxes)):
        for rect in planned(seen.boxes[index : index + 1], width, height):
            if 1 - filled[rect.top : rect.bottom, rect.left : rect.right].mean() > OUTSIDE:
                keep.append(index)
    return Seen(seen.time_s, seen.boxes[keep], seen.confidence[keep], seen.class_id[keep])
