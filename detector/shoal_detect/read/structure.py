"""Reads a container file's own bookkeeping without decoding anything: is its end missing, are pictures encrypted.

Decoders work around a missing end so well that a file cut in half can play without an error.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass

from shoal_detect.read.source import Bytes

MP4_BOXES = frozenset(
    b"ftyp moov mdat free skip wide moof mfra sidx ssix styp uuid pnot udta meta prft emsg pdin".split()
)
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
TS_PACKET_BYTES = 188
TS_SYNC = 0x47
FLV_TAG_BYTES = 11
FLV_TAGS = frozenset({8, 9, 18})
"""Sound, pictures, script data (Adobe's FLV specification 10.1, annex E.4)."""
AVI_PICTURES = frozenset({b"dc", b"db"})
MATROSKA_ENCRYPTION = b"\x50\x33\x81\x01"
"""ContentEncodingType of one byte, 1: encryption (RFC 9559 section 5.1.4.1.31.3)."""
SEARCHED_BYTES = 1 << 20
MOVIE_BYTES = 1 << 26


def missing_end(stream: Bytes, size_bytes: int) -> str | None:
    """What is missing, as a sentence, or None where nothing is or nothing can be said. Raises OSError."""
    stream.seek(0)
    head = stream.read(12)
    if head[4:8] in MP4_BOXES:
        return _mp4(stream, size_bytes)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _avi(stream, size_bytes)
    if head[:4] == EBML:
        return _matroska(stream, size_bytes)
    if head[:1] == bytes([TS_SYNC]):
        return _transport_stream(stream, size_bytes)
    return None


def is_whole(stream: Bytes, size_bytes: int) -> bool:
    """Whether the bookkeeping says where the file ends, and it ends there. Raises OSError."""
    stream.seek(0)
    head = stream.read(12)
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        return 0 <= size_bytes - 8 - length <= 1
    if head[:4] == EBML:
        return _segment_end(stream) == size_bytes
    end = 0
    for box in _boxes(stream):
        end = box.start + box.length
    return end == size_bytes


def encrypted(stream: Bytes) -> bool:
    """Whether the header says that pictures are encrypted: Common Encryption (ISO/IEC 23001-7) or Matroska's.

    Raises OSError.
    """
    stream.seek(0)
    head = stream.read(SEARCHED_BYTES)
    if head[:4] == EBML:
        return MATROSKA_ENCRYPTION in head
    if head[4:8] not in MP4_BOXES:
        return False
    movie = next((box for box in _boxes(stream) if box.kind == b"moov"), None)
    if movie is None:
        return False
    stream.seek(movie.start)
    content = stream.read(min(movie.length, MOVIE_BYTES))
    return b"encv" in content and b"sinf" in content


@dataclass(frozen=True, slots=True)
class Box:
    """A box at the top of an MP4 file."""

    kind: bytes
    start: int
    length: int


def _boxes(stream: Bytes, position: int = 0) -> Iterator[Box]:
    """ISO/IEC 14496-12 section 4.2: 32-bit size and type; size 1 = 64-bit size follows, 0 = up to the end.

    Ends before what is no box. The last box may be longer than the file; one of open length has length 0.
    """
    while True:
        stream.seek(position)
        header = stream.read(16)
        if len(header) < 8:
            return
        kind, length = header[4:8], int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if kind not in MP4_BOXES or (length < 8 and length != 0):
            return
        yield Box(kind, position, length)
        if length == 0:
            return
        position += length


def mp4_starts(stream: Bytes, size_bytes: int) -> list[int]:
    """Where recordings begin in an MP4 file: several where files were appended to each other. Raises OSError.

    A recording that was cut before the next one was appended promises bytes that are the next one's: where the boxes
    do not end with the file, the beginning of another one is searched for.
    """
    starts = [0]
    while True:
        movie, last = False, Box(b"", starts[-1], 0)
        for last in _boxes(stream, starts[-1]):
            if last.kind == b"ftyp" and movie:
                starts.append(last.start)
                movie = False
            movie = movie or last.kind == b"moov"
        if last.start + last.length == size_bytes:
            return starts
        following = _next_file(stream, last.start + 8)
        if following is None:
            return starts
        starts.append(following)


def _next_file(stream: Bytes, position: int) -> int | None:
    """Where the next file type box is that another box follows."""
    tail = b""
    while True:
        stream.seek(position)
        block = stream.read(SEARCHED_BYTES)
        if not block:
            return None
        at = (tail + block).find(b"ftyp")
        if at >= 0:
            start = position - len(tail) + at - 4
            if len(list(itertools.islice(_boxes(stream, start), 2))) == 2:
                return start
        tail = block[-3:]
        position += len(block)


def flv_start(stream: Bytes, position: int) -> int | None:
    """Where another FLV file begins after the tag at `position`, if one does. Raises OSError."""
    while True:
        stream.seek(position)
        tag = stream.read(FLV_TAG_BYTES)
        if tag[:3] == b"FLV":
            return position
        if len(tag) < FLV_TAG_BYTES or tag[0] & 0x1F not in FLV_TAGS:
            return None
        position += FLV_TAG_BYTES + int.from_bytes(tag[1:4], "big") + 4


def avi_index(stream: Bytes, size_bytes: int) -> tuple[int, int]:
    """How many pictures the index of an AVI file lists, and how many of these are empty chunks. Raises OSError.

    By an empty chunk a recorder says that the picture stays as it was. The index (idx1: 16 bytes a chunk, the last four
    its length) follows the pictures of the first RIFF chunk; 0 where there is none.
    """
    position = 12
    while position + 8 <= size_bytes:
        stream.seek(position)
        header = stream.read(8)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] == b"idx1":
            index = stream.read(length)
            places = [at for at in range(0, len(index) - 15, 16) if index[at + 2 : at + 4] in AVI_PICTURES]
            return len(places), sum(index[at + 12 : at + 16] == bytes(4) for at in places)
        position += 8 + length + length % 2
    return 0, 0


def _beyond(what: str, end: int, size_bytes: int) -> str:
    return f"the file ends {end - size_bytes} bytes before its {what} does"


def _mp4(stream: Bytes, size_bytes: int) -> str | None:
    kinds = set()
    for box in _boxes(stream):
        kinds.add(box.kind)
        if box.start + box.length > size_bytes:
            return _beyond(f"{box.kind.decode()} box", box.start + box.length, size_bytes)
    if b"mdat" in kinds and not kinds & {b"moov", b"moof"}:
        return "the index (moov box) is missing; the recording was not closed"
    return None


def _avi(stream: Bytes, size_bytes: int) -> str | None:
    """RIFF, and in big files (OpenDML) further RIFF chunks after it: type, 32-bit size, content, padding to even."""
    position = 0
    while position + 12 <= size_bytes:
        stream.seek(position)
        header = stream.read(12)
        if header[:4] != b"RIFF":
            break
        length = int.from_bytes(header[4:8], "little")
        if length in {0, 0xFFFFFFFF}:
            return None  # never filled in by the recorder: says nothing
        if position + 8 + length > size_bytes:
            return _beyond("RIFF chunk", position + 8 + length, size_bytes)
        position += 8 + length + length % 2
    return None


def _matroska(stream: Bytes, size_bytes: int) -> str | None:
    end = _segment_end(stream)
    return _beyond("segment", end, size_bytes) if end is not None and end > size_bytes else None


def _segment_end(stream: Bytes) -> int | None:
    """EBML (RFC 8794): header element, then one segment; a size of all ones means unknown."""
    stream.seek(len(EBML))
    header_bytes = _vint(stream)
    if header_bytes is None:
        return None
    stream.seek(header_bytes, os.SEEK_CUR)
    if stream.read(len(SEGMENT)) != SEGMENT:
        return None
    length = _vint(stream)
    return None if length is None else stream.tell() + length


def _vint(stream: Bytes) -> int | None:
    """A variable-size integer; None where it is cut off or stands for unknown."""
    first = stream.read(1)
    if not first or first[0] == 0:
        return None
    extra = 8 - first[0].bit_length()
    rest = stream.read(extra)
    if len(rest) < extra:
        return None
    bits = 7 * (extra + 1)
    value = int.from_bytes(first + rest, "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _transport_stream(stream: Bytes, size_bytes: int) -> str | None:
    """ISO/IEC 13818-1: packets of 188 bytes, each beginning with the sync byte."""
    stream.seek(TS_PACKET_BYTES)
    rest_bytes = size_bytes % TS_PACKET_BYTES
    if stream.read(1) != bytes([TS_SYNC]) or rest_bytes == 0:
        return None
    stream.seek(size_bytes - rest_bytes)
    if stream.read(1) != bytes([TS_SYNC]):
        return None  # packets were lost on the way, or the file was made larger than its content
    return f"the last packet has {rest_bytes} of {TS_PACKET_BYTES} bytes"
