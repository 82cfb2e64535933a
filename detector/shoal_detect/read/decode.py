"""Decodes a recording frame by frame and finds out what is wrong with it; a bad recording never raises.

All the reading is done by FFmpeg (PyAV) on one thread: inference is what takes the time, and one thread gives the
same frames every time. A file is read as one or more parts, each as if it were a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import av
import av.error
import av.logging

from shoal_detect.read import structure, transport_stream
from shoal_detect.read.clock import Clock, Jump
from shoal_detect.read.faults import Fault, Kind
from shoal_detect.read.losses import Gap, Losses
from shoal_detect.read.orientation import UPRIGHT, Orientation, Turner
from shoal_detect.read.orientation import of as orientation_of
from shoal_detect.read.source import Source, State, Unopened, Window, opened, quietly, still_written
from shoal_detect.read.streams import Choice, Unread, candidates, choose, count_packets
from shoal_detect.read.thinning import CODECS, Doubt, Thinning
from shoal_detect.read.videos import Video

# Only real video containers: a playlist or a script under a video's name must not make FFmpeg open other files.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,asf,ogg,h264,hevc,vvc,mjpeg,dv,"
    "mxf,dhav,ivf,obu,av1,yuv4mpegpipe,rm,nut,wtv,gxf,nsv,vc1,cavsvideo,avs2,avs3,h261,h263,dirac,gif"
)
MAX_PIXELS = 1 << 25
"""Larger pictures than 8K UHD (7680 x 4320) are refused: a few bytes in a header can ask for any amount of memory."""
OPTIONS = {"format_whitelist": FORMATS, "max_pixels": str(MAX_PIXELS)}
LOOK_FAR = {"probesize": str(1 << 28), "analyzeduration": str(600 * 1_000_000)}
"""For files whose pictures begin late: FFmpeg looks through 256 MiB or ten minutes in place of 5 MB or 5 s."""
DECLARED_DURATION = frozenset({"mov", "avi", "matroska", "flv", "asf"})
"""Formats whose header states a duration; that of the others is FFmpeg's guess from the file's size."""
LATE_STREAMS = frozenset({"flv", "mpegts", "mpeg"})
"""Formats without a list of streams at their beginning."""
UNSTAMPED = frozenset({"avi", "h264", "hevc", "vvc", "m4v", "mpegvideo", "mjpeg", "vc1", "cavsvideo", "dirac", "obu"})
"""Formats that do not say when a frame is shown, only in which order."""
PLACEHOLDER_BYTES = 20
"""An encoder writes so few for a picture that stays as it was; in formats without times such a packet shows nothing."""
FALLBACK_FPS = Fraction(25)
FALLBACK_TIME_BASE = Fraction(1, 1_000_000)
MOST_FPS = 240
"""A higher rate in a header is a unit of time, not a rate."""
NEAR_END = 0.9
"""A last packet beyond this share of a file says that it was read to its end; what follows is an index."""
EPOCH_S = (1_000_000_000.0, 4_000_000_000.0)
"""Stamps in this range (2001 to 2096) are seconds since 1970."""
MOST_SIZES = 100


@dataclass(frozen=True, slots=True)
class Size:
    """Size of the frames from one frame on, as shown."""

    frame: int
    time_s: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame."""

    index: int
    """From 0, in the order of presentation."""
    time_s: float
    """Since the first frame; later than the frame before, whatever the recording's clock did."""
    stored: av.VideoFrame
    """As it is in the file."""
    orientation: Orientation = UPRIGHT
    pixel_aspect: float = 1.0
    """Width of a pixel by its height, as shown."""
    turner: Turner = field(default_factory=Turner, compare=False, repr=False)

    @property
    def image(self) -> av.VideoFrame:
        """As it is shown: turned and mirrored as the recording asks for. Raises av.error.FFmpegError."""
        return self.turner.turn(self.stored, self.orientation)

    @property
    def width(self) -> int:
        """Of the shown frame, in pixels."""
        return self.stored.height if self.orientation.sideways else self.stored.width

    @property
    def height(self) -> int:
        """Of the shown frame, in pixels."""
        return self.stored.width if self.orientation.sideways else self.stored.height


@dataclass
class Reading:
    """What is known of a video; filled while its frames are read."""

    width: int = 0
    """Of the first frame as shown; `sizes` has the others."""
    height: int = 0
    fps: float = 0.0
    frames_expected: int | None = None
    """By the container's index, or its duration and rate."""
    frames: int = 0
    duration_s: float = 0.0
    """Of what was decoded, in video time."""
    fault: Fault | None = None
    size_bytes: int | None = None
    """Of the file that was read."""
    sizes: list[Size] = field(default_factory=list)
    orientation: Orientation = UPRIGHT
    pixel_aspect: float = 1.0
    interlaced: bool = False
    parts: int = 0
    """How many recordings in a row the file holds."""
    unread: list[Unread] = field(default_factory=list)
    recorded_at: datetime | None = None
    """When the recording began, as far as the file says so."""
    clock: Clock = field(default_factory=Clock)
    losses: Losses = field(default_factory=Losses)

    @property
    def decode_errors(self) -> int:
        """Packets refused by the decoder and frames it marked as corrupt."""
        return self.losses.refused

    @property
    def missing(self) -> int:
        """Frames that the recording lost."""
        return self.losses.missing

    @property
    def gaps(self) -> list[Gap]:
        """Where it lost them."""
        return self.losses.gaps

    @property
    def jumps(self) -> list[Jump]:
        """Where its clock does not go on."""
        return self.clock.jumps


def read_frames(
    video: Video,
    reading: Reading,
    limit: int | None = None,
    alive: Callable[[], None] = quietly,
    *,
    stride: int = 1,
) -> Iterator[Frame]:
    """Yield every frame that can be had, and fill `reading`; `reading.fault` holds after the last frame.

    With a limit only so many, and without judging what follows. `alive` is called before every read of the file, so
    also where no frame comes for long; what it raises is raised here. With a stride some frames whose number is no
    multiple of it may be left out; where it is not sure that all else is as ever without them, Doubt is raised.
    """
    if video.problem is not None:
        reading.fault = Fault(Kind.UNREADABLE, video.problem)
        return
    try:
        with opened(video.path, alive) as source:
            reading.size_bytes = source.opened.size_bytes
            for frame in _read_source(source, reading, stride):
                yield frame
                if frame.index + 1 == limit:
                    return
    except Unopened as error:
        reading.fault = Fault(Kind.UNREADABLE, str(error))


def _read_source(source: Source, reading: Reading, stride: int) -> Iterator[Frame]:
    written = still_written(source)
    if written:
        reading.fault = Fault(Kind.GROWING, f"it is still being written: {written}")
        return
    if source.opened.size_bytes == 0:
        reading.fault = Fault(Kind.EMPTY, "the file has 0 bytes")
        return
    faults: list[Fault] = []
    try:
        yield from _read_parts(source, reading, faults, stride)
    except OSError as error:  # of the file itself: FFmpeg's own are caught where it is called
        faults.insert(0, Fault(Kind.UNREADABLE, f"reading it failed: {error.strerror}"))
    changed = _changed(source.opened, source.now())
    if changed:
        faults.insert(0, changed)
    if not faults and reading.losses.too_many(reading.frames, reading.clock.usual_s):
        faults.append(Fault(Kind.FRAMES_MISSING, _missing_text(reading)))
    reading.fault = faults[0] if faults else None


def _changed(before: State, now: State) -> Fault | None:
    if now == before:
        return None
    if now.size_bytes > before.size_bytes:
        return Fault(
            Kind.GROWING,
            f"it grew from {before.size_bytes} to {now.size_bytes} bytes while it was read; a new run reads it",
        )
    what = f"cut to {now.size_bytes} bytes" if now.size_bytes < before.size_bytes else "written over"
    return Fault(Kind.CHANGED, f"it was {what} while it was read")


def _missing_text(reading: Reading) -> str:
    places = ", ".join(f"{gap.frames} at {gap.time_s:.1f} s" for gap in reading.gaps[:3])
    more = " and more" if len(reading.gaps) > 3 else ""
    return f"{reading.missing} frames are missing beside {reading.frames} that were read: {places}{more}"


@dataclass
class _Part:
    """One recording in a file, and how far things went, in seconds since its start or by its own clock."""

    source: Source
    start: int
    end: int
    number: int
    format: str = ""
    cut: str | None = None
    scrambled: bool = False
    stride: int = 1
    """Frames between those that are wanted; 1: all of them, or all are decoded."""
    promised_s: float | None = None
    start_s: float = 0.0
    demuxed_s: float = 0.0
    """End of the last packet of any stream."""
    video_s: float = 0.0
    """Begin of the last packet of the video stream."""
    decoded_s: float = 0.0
    """End of the last decoded frame."""
    packets: int = 0
    frames: int = 0
    last_packet_byte: int = 0
    stopped_by: str | None = None
    """The error that ended the reading before its time."""

    def window(self) -> Window:
        """Its bytes; a new one for every reader."""
        return Window(self.source, self.start, self.end)


def _read_parts(source: Source, reading: Reading, faults: list[Fault], stride: int) -> Iterator[Frame]:
    """Every part; a part whose end is not known beforehand (FLV) makes the next one when it is read."""
    size_bytes = source.opened.size_bytes
    head = source.head(transport_stream.PACKET_BYTES * 8)
    starts, scrambled = [0], False
    packets = transport_stream.distance(head)
    if packets is not None:
        layout = transport_stream.survey(Window(source, 0, size_bytes), *packets)
        starts, scrambled = layout.starts, layout.scrambled_packets * 2 > layout.picture_packets
    elif head[4:8] in structure.MP4_BOXES:
        starts = structure.mp4_starts(Window(source, 0, size_bytes), size_bytes)
    waiting = list(zip(starts, [*starts[1:], size_bytes], strict=True))
    while waiting:
        start, end = waiting.pop(0)
        part = _Part(source, start, end, reading.parts, scrambled=scrambled)
        if part.number == 0 and not scrambled:
            part.stride = stride
        fault = yield from _read_part(part, reading)
        if fault is not None:
            faults.append(fault if part.number == 0 else _later(fault, part, reading))
        reading.parts += 1
        if "flv" in part.format.split(","):
            following = structure.flv_start(part.window(), part.last_packet_byte)
            if following:
                waiting.append((start + following, end))


def _later(fault: Fault, part: _Part, reading: Reading) -> Fault:
    """The fault of a part that is not the first, in words about the whole."""
    unread = {Kind.UNREADABLE, Kind.UNSUPPORTED_CODEC, Kind.NO_FRAMES, Kind.NO_VIDEO_STREAM}
    kind = Kind.CODEC_CHANGED if fault.kind in unread and reading.frames else fault.kind
    return Fault(kind, f"from byte {part.start} on, after {reading.duration_s:.1f} s of film: {fault.message}")


def _read_part(part: _Part, reading: Reading) -> Generator[Frame, None, Fault | None]:
    part.cut = structure.missing_end(part.window(), part.end - part.start)
    try:
        container = _open(part)
        if not candidates(container) and LATE_STREAMS & set(container.format.name.split(",")):
            container.close()
            container = _open(part, LOOK_FAR)
    except av.error.FFmpegError as error:
        return Fault(Kind.TRUNCATED, part.cut) if part.cut else _unopened(error, part)
    with container:
        return (yield from _read_container(container, part, reading))


def _open(part: _Part, more: dict[str, str] | None = None) -> av.container.InputContainer:
    return av.open(part.window(), "r", options={**OPTIONS, **(more or {})}, metadata_errors="replace")


def _unopened(error: av.error.FFmpegError, part: _Part) -> Fault:
    if isinstance(error, av.error.EOFError):
        return Fault(Kind.NO_FRAMES, "the file ends before its first frame")
    if isinstance(error, av.error.ArgumentError):
        # FFmpeg knows it (a picture, a playlist, a sound format), but it is not in FORMATS.
        return Fault(Kind.UNREADABLE, "its content is in none of the video formats that are read")
    if part.source.head(4, part.start + 4) in {b"styp", b"moof"}:
        return Fault(Kind.UNREADABLE, "it is a segment of a stream, and the header (init segment) is another file")
    return Fault(Kind.UNREADABLE, f"not a video FFmpeg can open: {error.strerror}")


def _choice(container: av.container.InputContainer, part: _Part) -> Choice | None:
    counts = None
    if len(candidates(container)) > 1:
        with _open(part) as another:
            counts = count_packets(another, candidates(another))
    return choose(container, counts)


def _read_container(
    container: av.container.InputContainer, part: _Part, reading: Reading
) -> Generator[Frame, None, Fault | None]:
    part.format = container.format.name
    try:
        chosen = _choice(container, part)
    except av.error.FFmpegError as error:
        return _unopened(error, part)
    if chosen is None:
        return Fault(Kind.NO_VIDEO_STREAM, f"there is no video stream in it (format {part.format})")
    stream, context = chosen.stream, chosen.stream.codec_context
    reading.unread += chosen.unread[: MOST_SIZES - len(reading.unread)]
    if context is None:
        return Fault(Kind.UNSUPPORTED_CODEC, "there is no decoder for its video codec")
    if context.width * context.height > MAX_PIXELS:
        return Fault(
            Kind.UNREADABLE,
            f"pictures of {context.width} x {context.height} pixels are larger than those that are read",
        )
    stream.thread_type = "NONE"
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS)}
    rate = _rate(stream)
    part.start_s = (container.start_time or 0) / av.time_base
    part.promised_s = _promised_s(container, stream, rate)
    _describe(container, stream, rate, part, reading)

    before = reading.losses.refused
    yield from _decode(container, stream, part, reading)
    return _judge(stream, part, reading, reading.losses.refused - before)


def _rate(stream: av.VideoStream) -> Fraction:
    rates = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate]
    return next((rate for rate in rates if rate <= MOST_FPS), rates[0] if rates else FALLBACK_FPS)


def _describe(
    container: av.container.InputContainer, stream: av.VideoStream, rate: Fraction, part: _Part, reading: Reading
) -> None:
    formats = set(part.format.split(","))
    stamped = not formats & UNSTAMPED
    reading.clock.begin(part.format, float(1 / rate))
    reading.losses.begin(part.format, float(1 / rate / (stream.time_base or FALLBACK_TIME_BASE)), stamped=stamped)
    expected = stream.frames
    if not expected and part.promised_s:
        # Matroska counts its duration from time 0, wherever its first frame is.
        late = "matroska" in formats and 0 < part.start_s < part.promised_s
        expected = round((part.promised_s - part.start_s * late) * rate)
    if part.number == 0:
        reading.fps = float(rate)
        reading.width, reading.height = stream.codec_context.width, stream.codec_context.height
        reading.frames_expected = expected or None
        reading.recorded_at = _recorded_at(container, stream)
    elif reading.frames_expected and expected:
        reading.frames_expected += expected


def _recorded_at(container: av.container.InputContainer, stream: av.VideoStream) -> datetime | None:
    """Wall time of the first frame: of a clock that counts from 1970, else what the recorder wrote into the header."""
    first_s = (container.start_time or 0) / av.time_base
    try:
        if EPOCH_S[0] < first_s < EPOCH_S[1]:
            return datetime.fromtimestamp(first_s, UTC)
        text = container.metadata.get("creation_time") or stream.metadata.get("creation_time") or ""
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _promised_s(container: av.container.InputContainer, stream: av.VideoStream, rate: Fraction) -> float | None:
    if not DECLARED_DURATION & set(container.format.name.split(",")):
        return None
    if container.format.name == "avi" and stream.frames:
        return float(stream.frames / rate)  # FFmpeg shortens the duration of a file without its end; not the count
    return None if container.duration is None else container.duration / av.time_base


@dataclass
class Shown:
    """How the frames of a part are shown; looked at anew where it may change."""

    turner: Turner = field(default_factory=Turner)
    stored: tuple[int, int] = (0, 0)
    orientation: Orientation = UPRIGHT
    pixel_aspect: float = 1.0

    def look(self, image: av.VideoFrame, stream: av.VideoStream) -> None:
        """Take in what a frame says."""
        stored = (image.width, image.height)
        if not image.key_frame and stored == self.stored:
            return
        self.stored, self.orientation = stored, orientation_of(image)
        # A recorder may write no ratio, or one that cannot be meant.
        ratio = stream.codec_context.sample_aspect_ratio or stream.sample_aspect_ratio
        if not ratio or not Fraction(1, 4) <= ratio <= 4:
            ratio = Fraction(1)
        self.pixel_aspect = float(1 / ratio if self.orientation.sideways else ratio)


def _decode(
    container: av.container.InputContainer, stream: av.VideoStream, part: _Part, reading: Reading
) -> Iterator[Frame]:
    losses, shown, index = reading.losses, Shown(), stream.index
    stamped = not UNSTAMPED & set(part.format.split(","))
    units = {one.index: float(one.time_base or FALLBACK_TIME_BASE) for one in container.streams}
    thinning = None
    if part.stride > 1 and stamped and stream.codec_context.name in CODECS:
        thinning = Thinning(stream, part.stride, reading.clock.usual_s / units[index])
    packets = _packets(container, part)
    for packet, place in ((one, None) for one in packets) if thinning is None else thinning.numbered(packets):
        size_bytes, number = packet.size, packet.stream_index
        losses.bytes_read(packet.pos, size_bytes)
        _note_packet(packet, units[number], part, is_video=number == index)
        if number != index:
            continue
        if size_bytes and not packet.is_discard and (stamped or size_bytes > PLACEHOLDER_BYTES):
            losses.packet(packet.pts, packet.dts, corrupt=packet.is_corrupt)
        if thinning is not None and place is not None:
            thinning.send(packet, place)
        try:
            images = packet.decode()
        except av.error.FFmpegError:
            if thinning is not None:
                raise Doubt("the decoder refused a packet") from None
            losses.damage()
            continue
        for image in images:
            if not isinstance(image, av.VideoFrame):
                continue
            if thinning is not None:
                for left_out in thinning.shown(image):
                    _count(left_out, left_out * units[index], part, reading)
            shown.look(image, stream)
            # Where a container has no times of presentation FFmpeg makes some up; those of decoding are in order.
            stamp = image.pts if stamped else image.dts
            yield _frame(image, None if stamp is None else stamp * units[index], shown, part, reading)
    for left_out in () if thinning is None else thinning.rest():
        _count(left_out, left_out * units[index], part, reading)
    losses.end(reading.frames, reading.duration_s)


def _frame(image: av.VideoFrame, stamp_s: float | None, shown: Shown, part: _Part, reading: Reading) -> Frame:
    index = reading.frames
    time_s = _count(image.pts, stamp_s, part, reading, corrupt=image.is_corrupt)
    frame = Frame(index, time_s, image, shown.orientation, shown.pixel_aspect, shown.turner)
    if not reading.interlaced and image.interlaced_frame:
        reading.interlaced = True
    _note_size(frame, reading)
    return frame


def _count(pts: int | None, stamp_s: float | None, part: _Part, reading: Reading, *, corrupt: bool = False) -> float:
    """Count the next frame, decoded or left out; its video time."""
    clock, losses, index = reading.clock, reading.losses, reading.frames
    jumps = clock.jump_count
    time_s = clock.at(stamp_s)
    if corrupt:
        losses.damage()
    losses.frame(pts, index, reading.duration_s, bridged=clock.jump_count > jumps)
    if stamp_s is not None:
        part.decoded_s = max(part.decoded_s, stamp_s - part.start_s + clock.usual_s)
    part.frames += 1
    reading.frames += 1
    reading.duration_s = max(reading.duration_s, time_s + clock.usual_s)
    return time_s


def _note_size(frame: Frame, reading: Reading) -> None:
    last = reading.sizes[-1] if reading.sizes else None
    if last is not None and (last.width, last.height) == (frame.width, frame.height):
        return
    if last is None:
        reading.width, reading.height = frame.width, frame.height
        reading.orientation, reading.pixel_aspect = frame.orientation, frame.pixel_aspect
    if len(reading.sizes) < MOST_SIZES:
        reading.sizes.append(Size(frame.index, frame.time_s, frame.width, frame.height))


def _packets(container: av.container.InputContainer, part: _Part) -> Iterator[av.Packet[Any]]:
    """All packets; the last ones are empty and make the decoders give out what they hold back."""
    try:
        yield from container.demux()
    except av.error.BlockingIOError:
        # FFmpeg's "try again", which for a file means that it ran out of patience with what it reads.
        part.stopped_by = "nothing readable follows"
    except av.error.FFmpegError as error:
        part.stopped_by = error.strerror
    else:
        return
    for stream in container.streams.video:
        packet = av.Packet()
        packet.stream = stream
        yield packet


def _note_packet(packet: av.Packet[Any], unit_s: float, part: _Part, *, is_video: bool) -> None:
    if not packet.size:
        return
    position = packet.pos
    if position is not None and position > part.last_packet_byte:
        part.last_packet_byte = position
    part.packets += is_video
    moment = packet.pts if packet.pts is not None else packet.dts
    if moment is None:
        return
    end_s = (moment + (packet.duration or 0)) * unit_s - part.start_s
    part.demuxed_s = max(part.demuxed_s, end_s)
    if is_video:
        # Not its end: a packet's duration is the time to the next one in the order of decoding, so that of a frame
        # before a pause may stand at one that is shown after it.
        part.video_s = max(part.video_s, moment * unit_s - part.start_s)


def _judge(stream: av.VideoStream, part: _Part, reading: Reading, refused: int) -> Fault | None:
    """What is wrong with a part that was read to its end."""
    errors = f" ({refused} decode errors)" if refused else ""
    step_s = reading.clock.usual_s
    undecoded_s = part.video_s + step_s - part.decoded_s
    short = undecoded_s > max(0.5, 2 * step_s)
    if part.cut:
        return Fault(Kind.TRUNCATED, f"{part.cut}; {part.frames} frames could be decoded{errors}")
    if (refused or part.frames == 0 or short) and (part.scrambled or structure.encrypted(part.window())):
        return Fault(Kind.ENCRYPTED, f"its pictures are encrypted; {part.frames} frames came out, most of them noise")
    if part.frames == 0:
        return Fault(Kind.NO_FRAMES, f"its video stream holds no frame that can be decoded{errors}")
    if part.stopped_by:
        return Fault(Kind.TRUNCATED, f"reading stopped after {reading.duration_s:.1f} s: {part.stopped_by}")
    broken = _broken_promise(stream, part, reading)
    if broken is None and short:
        return Fault(Kind.TRUNCATED, f"the last {undecoded_s:.1f} s cannot be decoded{errors}")
    return broken


def _broken_promise(stream: av.VideoStream, part: _Part, reading: Reading) -> Fault | None:
    """Some recorders count a duration from time 0, others from the first frame: the data may keep either promise."""
    promised_s, step_s = part.promised_s, reading.clock.usual_s
    if not promised_s:
        return None
    reached_s = max(part.demuxed_s, part.decoded_s)
    if 0 < part.start_s < promised_s:
        reached_s += part.start_s
    # Durations are rounded by recorders, and sound may outlast the pictures a little.
    tolerance_s = max(0.5, 2 * step_s, 0.02 * promised_s)
    if promised_s - reached_s <= tolerance_s:
        return None
    if part.format == "avi":
        listed, empty = structure.avi_index(part.window(), part.end - part.start)
        lost = listed - empty - part.packets
        if lost > 0:
            reading.losses.unplaced(lost, reading.frames, reading.duration_s)
        if promised_s - listed * step_s <= tolerance_s:
            return None
    text = f"the header promises {promised_s:.1f} s, the data ends after {reached_s:.1f} s"
    all_listed = "mp4" in part.format and 0 < stream.frames <= part.packets
    at_end = part.last_packet_byte > NEAR_END * (part.end - part.start)
    if (all_listed or at_end) and structure.is_whole(part.window(), part.end - part.start):
        return Fault(Kind.WRONG_HEADER, f"{text}; the file is whole, and all of it was read")
    return Fault(Kind.TRUNCATED, text)
