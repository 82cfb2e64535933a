"""Leaves pictures undecoded that nothing needs, where their packets alone say which number and time they have.

With a stride most pictures are not looked at. Those to which no other picture refers are then not decoded (FFmpeg's
`skip_frame` NONREF), in H.264 and HEVC with times. Every packet is read and counted as ever. Whatever is out of the
ordinary raises Doubt: the recording is then read again with all of it decoded, which is what numbers and losses mean.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import av

CODECS = frozenset({"h264", "hevc"})
MOST_HELD = 64
"""Packets held back until it is clear which pictures are shown before them: a decoder reorders 16 pictures at most."""
SETTLED_FROM = 1024
WIDE = 1.5
"""A step this many times the usual one: a decoder makes up what a lost picture was referred to for, by what it has."""
HEVC_PICTURES = 32
"""NAL unit types below it are pictures' (H.265, table 7-1)."""


class Doubt(Exception):  # noqa: N818 - an outcome of a reading
    """The packets do not say surely what a decoder would show."""


@dataclass
class Thinning:
    """What is left out of one stream, of which every `stride`-th picture is wanted."""

    stream: av.VideoStream
    stride: int
    step: float
    """From one picture to the next as a rule, in units of the stream's times."""
    _stamps: list[int] = field(default_factory=list)
    """Of packets that were read, in order; those that nothing can come before any more are only counted."""
    _settled: int = 0
    _sent: list[tuple[int, bool]] = field(default_factory=list)
    """Stamps of packets that the decoder got and has shown nothing of, in order; whether it was to leave them out."""

    def numbered(self, packets: Iterator[av.Packet[Any]]) -> Iterator[tuple[av.Packet[Any], int | None]]:
        """All packets in their order; with each of the stream that holds a picture its number in order of presentation.

        Raises Doubt.
        """
        held: deque[av.Packet[Any]] = deque()
        decoding: int | None = None
        for packet in packets:
            held.append(packet)
            if self._is_picture(packet):
                stamp, decoding = self._checked(packet, decoding)
                insort(self._stamps, stamp)
            while held and (not self._is_picture(held[0]) or (decoding is not None and (held[0].pts or 0) < decoding)):
                yield self._with_number(held.popleft())
            if len(held) > MOST_HELD:
                raise Doubt("pictures are shown much later than they are stored")
        # The last one may be cut off, which is seen in the decoding alone.
        self.stride = 1
        for packet in held:
            yield self._with_number(packet)

    def _is_picture(self, packet: av.Packet[Any]) -> bool:
        return packet.stream_index == self.stream.index and packet.size > 0

    def _checked(self, packet: av.Packet[Any], before: int | None) -> tuple[int, int | None]:
        stamp, decoding = packet.pts, packet.dts
        # Matroska has no times of decoding; FFmpeg makes them up, but for the first pictures.
        if stamp is None or (decoding is None and before is not None):
            raise Doubt("its pictures have no times")
        if decoding is not None and (stamp < decoding or (before is not None and decoding <= before)):
            raise Doubt("its times are out of order")
        place = bisect_left(self._stamps, stamp)
        if packet.is_corrupt or packet.is_discard or self._stamps[place : place + 1] == [stamp]:
            raise Doubt("a packet is damaged, hidden, or there twice")
        if self.stream.codec_context.name == "hevc" and temporal_id(self.stream, packet) != 0:
            # In layers above the first may be referred to what nothing in its own layer refers to.
            raise Doubt("its pictures are in temporal layers")
        return stamp, decoding

    def _with_number(self, packet: av.Packet[Any]) -> tuple[av.Packet[Any], int | None]:
        if not self._is_picture(packet) or packet.pts is None:
            return packet, None
        place = bisect_left(self._stamps, packet.pts)
        number = self._settled + place
        if place and packet.pts - self._stamps[place - 1] > WIDE * self.step:
            raise Doubt("pictures are missing, or lie apart")
        if place > SETTLED_FROM:
            # No packet that follows is shown before one that is so far back.
            settled = place - MOST_HELD
            self._settled += settled
            del self._stamps[:settled]
        return packet, number

    def send(self, packet: av.Packet[Any], number: int) -> None:
        """The packet goes to the decoder next, which may leave out what is not wanted."""
        left_out = number % self.stride != 0
        self.stream.codec_context.skip_frame = "NONREF" if left_out else "DEFAULT"
        insort(self._sent, (packet.pts or 0, left_out))

    def shown(self, image: av.VideoFrame) -> list[int]:
        """The decoder shows a picture; the stamps of those that were left out before it. Raises Doubt."""
        if image.pts is None or image.is_corrupt or image.interlaced_frame:
            raise Doubt("a picture is damaged, without a time, or of two fields")
        place = bisect_left(self._sent, (image.pts, False))
        if place == len(self._sent) or self._sent[place][0] != image.pts:
            raise Doubt("a picture has another time than its packet")
        before, self._sent = self._sent[:place], self._sent[place + 1 :]
        return _left_out(before)

    def rest(self) -> list[int]:
        """The decoder has shown all; the stamps of what was left out after that. Raises Doubt."""
        before, self._sent = self._sent, []
        return _left_out(before)


def _left_out(sent: list[tuple[int, bool]]) -> list[int]:
    if not all(left_out for _, left_out in sent):
        raise Doubt("the decoder lost a picture")
    return [stamp for stamp, _ in sent]


def temporal_id(stream: av.VideoStream, packet: av.Packet[Any]) -> int | None:
    """The temporal layer of an HEVC packet's first picture (H.265, 7.3.1.2); None where none is found."""
    head, data = bytes(stream.codec_context.extradata or b""), bytes(packet)
    # A configuration record (ISO/IEC 14496-15, 8.3.3) begins with its version, 1; else units begin with 00 00 01.
    in_lengths = head[:1] == b"\1" and len(head) > 21
    size = (head[21] & 3) + 1 if in_lengths else 3
    at = 0 if in_lengths else data.find(b"\0\0\1")
    while 0 <= at <= len(data) - size - 2:
        unit = at + size
        if data[unit] >> 1 & 0x3F < HEVC_PICTURES:
            return (data[unit + 1] & 7) - 1
        at = unit + int.from_bytes(data[at:unit], "big") if in_lengths else data.find(b"\0\0\1", unit)
    return None
