"""Makes the odd recordings that cameras, phones and recorders write. Needs PyAV alone; nothing is downloaded.

Every picture carries its own number as eight black and white blocks along its lower edge, so that pictures that are
missing, doubled or late show. The number is read from the decoded picture, not from any time stamp.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 160, 120
BLOCK, BAND = 20, 24
FPS = 25
FRAMES = 75
MILLI = Fraction(1, 1000)

Picture = npt.NDArray[np.uint8]


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> Picture:
    """Picture `number`: noise that makes files of some size, a bright upper left corner, and the number below."""
    random = np.random.default_rng(number)
    pixels = random.integers(40, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[:32, :32] = 230
    for bit in range(8):
        pixels[HEIGHT - BAND :, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 16
    if (width, height) == (WIDTH, HEIGHT):
        return pixels
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(width, height, interpolation="POINT")
    return np.asarray(frame.to_ndarray(), dtype=np.uint8)


def number(frame: av.VideoFrame) -> int:
    """The number written in a decoded picture of any size."""
    grey = frame.reformat(WIDTH, HEIGHT, "gray").to_ndarray()
    band = grey[HEIGHT - BAND + 6 : HEIGHT - 6]
    return sum(int(band[:, bit * BLOCK + 6 : (bit + 1) * BLOCK - 6].mean() > 128) << bit for bit in range(8))


def write(
    path: Path,
    numbers: Iterable[int] = range(FRAMES),
    *,
    muxer: str | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
    stamp: Callable[[int], int] = lambda place: place * 40,
    rate: Fraction | int = FPS,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    aspect: Fraction | None = None,
) -> Path:
    """Encode pictures; `stamp` gives a picture's time in milliseconds by its place."""
    with av.open(str(path), "w", format=muxer, options=muxing or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        context = stream.codec_context
        context.time_base, context.thread_count = MILLI, 1
        if codec in {"mpeg4", "mpeg2video", "mpeg1video", "mjpeg"} or path.suffix == ".avi":
            context.time_base, context.gop_size = 1 / Fraction(rate), 25
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        plain = {"preset": "ultrafast", "crf": "16", "g": "25", "keyint_min": "25", "sc_threshold": "0", "bf": "0"}
        by_codec = {"libx264": plain, "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:keyint=25"}}
        by_codec["libvpx"] = {"deadline": "realtime", "cpu-used": "8", "b": "2M"}
        stream.options = {**by_codec.get(codec, {"qmin": "2", "qmax": "4"}), **(options or {})}
        for place, which in enumerate(numbers):
            frame = av.VideoFrame.from_ndarray(picture(which, *size), format="rgb24")
            frame.time_base = MILLI
            frame.pts = stamp(place)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, keep: Callable[[int], bool], *, shift_s: float = 0.0) -> Path:
    """Copy the packets whose place in the stream is to be kept."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        for place, packet in enumerate(one for one in before.demux(video=0) if one.size):
            if not keep(place):
                continue
            shift = round(shift_s / (packet.time_base or MILLI))
            packet.pts, packet.dts = (packet.pts or 0) + shift, (packet.dts or 0) + shift
            packet.stream = stream
            after.mux(packet)
    return target


def joined(target: Path, *sources: Path) -> Path:
    """Files one after the other."""
    target.write_bytes(b"".join(source.read_bytes() for source in sources))
    return target


def several(path: Path, streams: Sequence[tuple[str, tuple[int, int], int]]) -> Path:
    """One file with several video streams: codec, size and number of pictures of each."""
    with av.open(str(path), "w") as container:
        made: list[tuple[av.VideoStream, int]] = []
        for codec, (width, height), frames in streams:
            stream = container.add_stream(codec, rate=FPS)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.options = {"preset": "ultrafast", "g": "25"} if codec == "libx264" else {}
            made.append((stream, frames))
        for place in range(max(frames for _, frames in made)):
            for stream, frames in made:
                if place < frames:
                    pixels = picture(place, stream.width, stream.height)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for stream, _ in made:
            container.mux(stream.encode(None))
    return path


def with_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write a display matrix into an MP4 file's track header (ISO/IEC 14496-12 section 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def hole(path: Path, begin: float, end: float, *, fill: bytes | None) -> Path:
    """Overwrite a share of the file, or (None) take it out; whole packets of 188 bytes."""
    data = path.read_bytes()
    first, last = (int(len(data) * share) // 188 * 188 for share in (begin, end))
    path.write_bytes(data[:first] + (fill * (last - first) if fill else b"") + data[last:])
    return path


def avi_with_empty_chunks(source: Path, target: Path, first: int) -> Path:
    """An AVI file whose pictures from `first` on are empty chunks, as recorders write them for unchanged pictures."""
    data = source.read_bytes()
    movi = data.index(b"movi") + 4
    at, chunks = movi, []
    while data[at : at + 4] == b"00dc":
        length = struct.unpack("<I", data[at + 4 : at + 8])[0]
        chunks.append(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    body, index, position = b"", b"", 4
    for place, chunk in enumerate(chunks):
        kept = b"" if place >= first else chunk
        piece = b"00dc" + struct.pack("<I", len(kept)) + kept + b"\0" * (len(kept) % 2)
        index += b"00dc" + struct.pack("<III", 16 if kept else 0, position, len(kept))
        position += len(piece)
        body += piece
    movie = b"LIST" + struct.pack("<I", len(body) + 4) + b"movi" + body
    out = data[: movi - 12] + movie + b"idx1" + struct.pack("<I", len(index)) + index
    target.write_bytes(out[:4] + struct.pack("<I", len(out) - 8) + out[8:])
    return target


def dhav(source: Path, target: Path) -> Path:
    """Dahua's own format: per packet a head of 24 bytes, an extension with the size, the packet, a tail."""
    out = b""
    with av.open(str(source)) as container:
        for place, packet in enumerate(one for one in container.demux(video=0) if one.size):
            data = bytes(packet)
            extension = b"\x81\x00\x02\x19" + b"\x82\x00\x00\x00" + struct.pack("<HH", WIDTH, HEIGHT)
            total = 24 + len(extension) + len(data) + 8
            date = 26 << 26 | 11 << 22 | 28 << 17 | 12 << 12 | place // FPS
            kind = 0xFD if packet.is_keyframe else 0xFC
            head = b"DHAV" + bytes([kind, 0, 0, 0])
            head += struct.pack("<IIIHB", place, total, date, place * 40 % 65536, len(extension))
            out += head + bytes([sum(head) & 255]) + extension + data + b"dhav" + struct.pack("<I", total)
    target.write_bytes(out)
    return target


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content, head included, of the boxes at the top of an MP4 file."""
    found, at = [], 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at : at + length]))
        at += length
    return found


def patched(path: Path, changes: dict[bytes, bytes]) -> Path:
    """Replace words in a file."""
    data: Any = path.read_bytes()
    for word, other in changes.items():
        assert word in data
        data = data.replace(word, other)
    path.write_bytes(data)
    return path
