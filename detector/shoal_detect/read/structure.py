"""Tells from a container file's own bookkeeping whether its end is missing, without decoding anything.

Decoders work around a missing end so well that a file cut in half can play without an error.
"""

from __future__ import annotations

import os
from typing import BinaryIO

MP4_BOXES = frozenset(
    b"ftyp moov mdat free skip wide moof mfra sidx ssix styp uuid pnot udta meta prft emsg pdin".split()
)
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
TS_PACKET_BYTES = 188
TS_SYNC = 0x47


def missing_end(path: str) -> str | None:
    """What is missing, as a sentence, or None where nothing is or nothing can be said. Raises OSError."""
    with open(path, "rb") as stream:  # noqa: PTH123 - the name may hold bytes that are not UTF-8
        size_bytes = os.fstat(stream.fileno()).st_size
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


def _beyond(what: str, end: int, size_bytes: int) -> str:
    return f"the file ends {end - size_bytes} bytes before its {what} does"


def _mp4(stream: BinaryIO, size_bytes: int) -> str | None:
    """ISO/IEC 14496-12 section 4.2: boxes of 32-bit size and type; size 1 = 64-bit size follows, 0 = up to the end."""
    position, boxes = 0, set()
    while position + 8 <= size_bytes:
        stream.seek(position)
        header = stream.read(16)
        kind, length = header[4:8], int.from_bytes(header[:4], "big")
        if kind not in MP4_BOXES:
            return None  # something appended; what came before was whole
        boxes.add(kind)
        if length == 0:
            break
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:
            return None
        if position + length > size_bytes:
            return _beyond(f"{kind.decode()} box", position + length, size_bytes)
        position += length
    if b"mdat" in boxes and not boxes & {b"moov", b"moof"}:
        return "the index (moov box) is missing; the recording was not closed"
    return None


def _avi(stream: BinaryIO, size_bytes: int) -> str | None:
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


def _matroska(stream: BinaryIO, size_bytes: int) -> str | None:
    """EBML (RFC 8794): header element, then one segment; a size of all ones means unknown."""
    stream.seek(len(EBML))
    header_bytes = _vint(stream)
    if header_bytes is None:
        return None
    stream.seek(header_bytes, os.SEEK_CUR)
    if stream.read(len(SEGMENT)) != SEGMENT:
        return None
    length = _vint(stream)
    end = None if length is None else stream.tell() + length
    return _beyond("segment", end, size_bytes) if end is not None and end > size_bytes else None


def _vint(stream: BinaryIO) -> int | None:
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


def _transport_stream(stream: BinaryIO, size_bytes: int) -> str | None:
    """ISO/IEC 13818-1: packets of 188 bytes, each beginning with the sync byte."""
    stream.seek(TS_PACKET_BYTES)
    if stream.read(1) != bytes([TS_SYNC]) or size_bytes % TS_PACKET_BYTES == 0:
        return None
    return f"the last packet has {size_bytes % TS_PACKET_BYTES} of {TS_PACKET_BYTES} bytes"
