"""Decodes a video frame by frame and finds out what is wrong with it; a bad video never raises.

All the reading is done by FFmpeg (PyAV) on one thread: inference is what takes the time, and one thread gives the
same frames every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import av.logging

from shoal_detect.read.structure import missing_end
from shoal_detect.read.videos import Video

# Only real video containers: a playlist or a script under a video's name must not make FFmpeg open other files.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,asf,ogg,h264,hevc,mjpeg,dv,mxf"
)
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
DECLARED_DURATION = frozenset({"mov", "avi", "matroska", "flv", "asf"})
"""Formats whose header states a duration; that of the others is FFmpeg's guess from the file's size."""
FALLBACK_FPS = Fraction(25)
FALLBACK_TIME_BASE = Fraction(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a video as a whole."""

    kind: str
    """unreadable, truncated, empty, no_frames or no_video_stream."""
    message: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame."""

    index: int
    """From 0, in the order of presentation."""
    time_s: float
    """Since the first frame."""
    image: av.VideoFrame


@dataclass
class Reading:
    """What is known of a video; filled while its frames are read."""

    width: int = 0
    height: int = 0
    fps: float = 0.0
    frames_expected: int | None = None
    """By the container's index, or its duration and rate."""
    frames: int = 0
    duration_s: float = 0.0
    """Of what was decoded."""
    decode_errors: int = 0
    """Packets refused by the decoder and frames it marked as corrupt."""
    fault: Fault | None = None


def read_frames(video: Video, reading: Reading) -> Iterator[Frame]:
    """Yield every frame that can be had, and fill `reading`; `reading.fault` holds after the last frame."""
    if video.problem is not None:
        reading.fault = Fault("unreadable", video.problem)
        return
    if video.size_bytes == 0:
        reading.fault = Fault("empty", "the file has 0 bytes")
        return
    try:
        cut = missing_end(video.path)
    except OSError as error:
        reading.fault = Fault("unreadable", f"cannot be read: {error.strerror}")
        return
    try:
        container = av.open(video.path, options=OPTIONS, metadata_errors="replace")
    except av.error.FFmpegError as error:
        reading.fault = Fault("truncated", cut) if cut else _unopened(error)
        return
    with container:
        yield from _read_container(container, reading, cut)


def _unopened(error: av.error.FFmpegError) -> Fault:
    if isinstance(error, av.error.EOFError):
        return Fault("no_frames", "the file ends before its first frame")
    if isinstance(error, av.error.ArgumentError):
        # FFmpeg knows it (a picture, a playlist, a sound format), but it is not in FORMATS.
        return Fault("unreadable", "its content is in none of the video formats that are read")
    return Fault("unreadable", f"not a video FFmpeg can open: {error.strerror}")


def _read_container(container: av.container.InputContainer, reading: Reading, cut: str | None) -> Iterator[Frame]:
    # Cover art is a "video stream" of one picture in sound files.
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        reading.fault = Fault("no_video_stream", f"there is no video stream in it (format {container.format.name})")
        return
    stream = streams[0]
    if stream.codec_context is None:
        reading.fault = Fault("unreadable", "there is no decoder for its video codec")
        return
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    rate = stream.average_rate or stream.guessed_rate or FALLBACK_FPS
    reading.fps = float(rate)
    reading.width, reading.height = stream.codec_context.width, stream.codec_context.height
    promised_s = _promised_s(container, stream, rate)
    reading.frames_expected = stream.frames or (round(promised_s * rate) if promised_s else None)

    ends = _Ends()
    yield from _decode(container, stream, reading, ends)
    reading.fault = _judge(reading, ends, cut=cut, promised_s=promised_s)


@dataclass
class _Ends:
    """How far things went, in seconds since the start of the container or stream."""

    demuxed_s: float = 0.0
    """End of the last packet of any stream."""
    video_s: float = 0.0
    """End of the last packet of the video stream."""
    decoded_s: float = 0.0
    """End of the last decoded frame."""
    stopped_by: str | None = None
    """The error that ended the reading before its time."""


def _promised_s(container: av.container.InputContainer, stream: av.VideoStream, rate: Fraction) -> float | None:
    if not DECLARED_DURATION & set(container.format.name.split(",")):
        return None
    if container.format.name == "avi" and stream.frames:
        return float(stream.frames / rate)  # FFmpeg shortens the duration of a file without its end; not the count
    return None if container.duration is None else container.duration / av.time_base


def _decode(
    container: av.container.InputContainer, stream: av.VideoStream, reading: Reading, ends: _Ends
) -> Iterator[Frame]:
    step_s = 1 / reading.fps
    start_s = (container.start_time or 0) / av.time_base
    first_s: float | None = None
    for packet in _packets(container, ends):
        _note_packet(packet, stream, start_s, ends)
        if packet.stream_index != stream.index:
            continue
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            reading.decode_errors += 1
            continue
        for image in frames:
            if not isinstance(image, av.VideoFrame):
                continue
            shown_s = image.time
            if shown_s is not None:
                first_s = shown_s if first_s is None else first_s
                ends.decoded_s = max(ends.decoded_s, shown_s - start_s + step_s)
            index = reading.frames
            # A frame without a time, or with one before the first frame's, is counted on by the frame rate.
            known = shown_s is not None and first_s is not None and shown_s >= first_s
            time_s = shown_s - first_s if known else index * step_s
            reading.frames += 1
            reading.decode_errors += bool(image.is_corrupt)
            reading.duration_s = max(reading.duration_s, time_s + step_s)
            if index == 0:
                reading.width, reading.height = image.width, image.height
            yield Frame(index, time_s, image)


def _packets(container: av.container.InputContainer, ends: _Ends) -> Iterator[av.Packet[Any]]:
    """All packets; the last ones are empty and make the decoders give out what they hold back."""
    try:
        yield from container.demux()
    except av.error.BlockingIOError:
        # FFmpeg's "try again", which for a file means that it ran out of patience with what it reads.
        ends.stopped_by = "nothing readable follows"
    except av.error.FFmpegError as error:
        ends.stopped_by = error.strerror
    else:
        return
    for stream in container.streams.video:
        packet = av.Packet()
        packet.stream = stream
        yield packet


def _note_packet(packet: av.Packet[Any], stream: av.VideoStream, start_s: float, ends: _Ends) -> None:
    moment = packet.pts if packet.pts is not None else packet.dts
    if packet.size == 0 or moment is None:
        return
    end_s = float((moment + (packet.duration or 0)) * (packet.time_base or FALLBACK_TIME_BASE)) - start_s
    ends.demuxed_s = max(ends.demuxed_s, end_s)
    if packet.stream_index == stream.index:
        ends.video_s = max(ends.video_s, end_s)


def _judge(reading: Reading, ends: _Ends, *, cut: str | None, promised_s: float | None) -> Fault | None:
    errors = f" ({reading.decode_errors} decode errors)" if reading.decode_errors else ""
    if cut:
        return Fault("truncated", f"{cut}; {reading.frames} frames could be decoded{errors}")
    if reading.frames == 0:
        return Fault("no_frames", f"its video stream holds no frame that can be decoded{errors}")
    if ends.stopped_by:
        return Fault("truncated", f"reading stopped after {reading.duration_s:.1f} s: {ends.stopped_by}")
    # Durations are rounded by recorders, and sound may outlast the pictures a little.
    step_s = 1 / reading.fps
    if promised_s and promised_s - max(ends.demuxed_s, ends.decoded_s) > max(0.5, 2 * step_s, 0.02 * promised_s):
        return Fault(
            "truncated",
            f"the header promises {promised_s:.1f} s, the data ends after {max(ends.demuxed_s, ends.decoded_s):.1f} s",
        )
    if ends.video_s - ends.decoded_s > max(0.5, 2 * step_s):
        lost_s = ends.video_s - ends.decoded_s
        return Fault("truncated", f"the last {lost_s:.1f} s cannot be decoded{errors}")
    return None
