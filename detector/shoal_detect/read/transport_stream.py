"""Looks through an MPEG transport stream for places where its pictures go on as another stream.

FFmpeg's reader (PyAV) keeps to the streams it found at opening: a camera that comes back with another codec or under
another PID would be read no further. ISO/IEC 13818-1: packets of 188 bytes; in some files 4 bytes of time stamp before
each (BDAV), or 16 bytes of error correction after each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shoal_detect.read.source import Bytes

PACKET_BYTES = 188
SYNC = 0x47
LAYOUTS = ((188, 0), (192, 4), (204, 0))
"""Distance of packets and where in it the packet begins, in bytes."""
CHECKED_PACKETS = 5
BLOCK_PACKETS = 1 << 15
PAT_PID = 0
PAT_TABLE, PMT_TABLE = 0x00, 0x02
PICTURES = frozenset({0x01, 0x02, 0x10, 0x1B, 0x1E, 0x1F, 0x20, 0x24, 0x33, 0x42, 0xD1, 0xD2, 0xEA})
"""Stream types of moving pictures: MPEG-1, -2, -4, H.264 and its kin, HEVC, VVC, AVS, Dirac, AVS2, VC-1."""

Packets = npt.NDArray[np.uint8]
Streams = frozenset[tuple[int, int]]
"""PID and stream type of a program's pictures."""


@dataclass
class Layout:
    """What the whole file says about its pictures."""

    starts: list[int] = field(default_factory=lambda: [0])
    """Byte positions at which a part begins whose pictures are other streams than before."""
    picture_packets: int = 0
    scrambled_packets: int = 0
    """Packets of pictures whose content is encrypted."""


@dataclass
class _Tables:
    """What the tables said last."""

    programs: dict[int, int] = field(default_factory=dict)
    """PID of the program map by program number."""
    streams: dict[int, Streams] = field(default_factory=dict)
    """By program number."""
    sections: dict[int, bytes] = field(default_factory=dict)
    """The last one by PID: nearly all repeat it."""
    pat_position: int = 0

    def pids(self) -> list[int]:
        """PIDs of all pictures."""
        return [pid for streams in self.streams.values() for pid, _ in streams]


def distance(head: bytes) -> tuple[int, int] | None:
    """Distance and offset of the packets of a file that begins so, or None where it is no transport stream."""
    for step, offset in LAYOUTS:
        places = range(offset, offset + step * CHECKED_PACKETS, step)
        if len(head) > places[-1] and all(head[place] == SYNC for place in places):
            return step, offset
    return None


def survey(stream: Bytes, step: int, offset: int) -> Layout:
    """Read the whole file once (numpy; some hundred megabytes a second). Raises OSError."""
    layout, tables = Layout(), _Tables()
    for position, packets in _blocks(stream, step, offset):
        pid = (packets[:, 1] & 0x1F).astype(np.int32) << 8 | packets[:, 2]
        whole = packets[:, 0] == SYNC
        watched = [PAT_PID, *tables.programs.values()]
        begins = whole & (packets[:, 1] & 0x40 != 0)
        # A program map that a table of this block names is looked for in this block too.
        for row in np.flatnonzero(begins & np.isin(pid, watched + _named(packets, begins & (pid == PAT_PID)))):
            at = position + int(row) * step - offset
            if _changed(tables, int(pid[row]), packets[row].tobytes(), at) and tables.pat_position > layout.starts[-1]:
                layout.starts.append(tables.pat_position)
        pictures = whole & np.isin(pid, tables.pids())
        layout.picture_packets += int(pictures.sum())
        layout.scrambled_packets += int((pictures & (packets[:, 3] & 0xC0 != 0)).sum())
    return layout


def _blocks(stream: Bytes, step: int, offset: int) -> Iterator[tuple[int, Packets]]:
    """Byte position of the first packet, and rows of packets; in step again after lost bytes."""
    position = offset
    while True:
        stream.seek(position)
        block = stream.read(step * BLOCK_PACKETS)
        if len(block) < PACKET_BYTES:
            return
        if block[0] != SYNC and (skipped := _resync(block, step)):
            position += skipped
            continue
        rows = (len(block) - PACKET_BYTES) // step + 1
        padded = block.ljust(rows * step, b"\0")[: rows * step]
        yield position, np.frombuffer(padded, np.uint8).reshape(rows, step)[:, :PACKET_BYTES]
        position += rows * step


def _resync(block: bytes, step: int) -> int:
    """Bytes up to the next packet, or 0 where none is found: then the block is passed as it is."""
    for skipped in range(1, step):
        if all(block[place : place + 1] == bytes([SYNC]) for place in range(skipped, skipped + 5 * step, step)):
            return skipped
    return 0


def _named(packets: Packets, where: npt.NDArray[np.bool_]) -> list[int]:
    """PIDs of the program maps that the first and last association table of a block name."""
    rows = np.flatnonzero(where)
    pids: list[int] = []
    for row in {int(rows[0]), int(rows[-1])} if len(rows) else ():
        section = _section(packets[row].tobytes(), PAT_TABLE)
        pids += _programs(section).values() if section else ()
    return pids


def _changed(tables: _Tables, pid: int, packet: bytes, position: int) -> bool:
    """Take in a table; whether the pictures of a program are other streams from here on."""
    if pid == PAT_PID:
        tables.pat_position = position
    section = _section(packet, PAT_TABLE if pid == PAT_PID else PMT_TABLE)
    if section is None or tables.sections.get(pid) == section:
        return False
    tables.sections[pid] = section
    if pid == PAT_PID:
        programs = _programs(section)
        other = bool(tables.programs) and not set(tables.programs) & set(programs)
        tables.programs = programs
        if other:
            tables.streams.clear()
        return other
    program, streams = _streams(section)
    before = tables.streams.get(program)
    if streams:
        tables.streams[program] = streams
    return bool(before) and bool(streams) and before != streams


def _section(packet: bytes, table: int) -> bytes | None:
    """A table that lies whole in one packet and whose checksum is right."""
    control = packet[3] >> 4 & 3
    start = 4 + (1 + packet[4] if control & 2 else 0)
    if not control & 1 or start + 1 > PACKET_BYTES - 12:
        return None
    start += 1 + packet[start]
    head = packet[start : start + 3]
    if len(head) < 3 or head[0] != table:
        return None
    section = packet[start : start + 3 + ((head[1] & 0x0F) << 8 | head[2])]
    whole = len(section) == 3 + ((head[1] & 0x0F) << 8 | head[2]) and len(section) >= 12
    return section if whole and _crc32(section) == 0 else None


def _crc32(data: bytes) -> int:
    """ISO/IEC 13818-1 annex A: 0 over a section with its checksum."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    return value


def _programs(section: bytes) -> dict[int, int]:
    """PIDs of program maps by program number; number 0 is the network's table."""
    entries = range(8, len(section) - 7, 4)
    numbers = {
        int.from_bytes(section[at : at + 2], "big"): int.from_bytes(section[at + 2 : at + 4], "big") & 0x1FFF
        for at in entries
    }
    return {number: pid for number, pid in numbers.items() if number}


def _streams(section: bytes) -> tuple[int, Streams]:
    """Program number, and its pictures' streams."""
    at = 12 + (int.from_bytes(section[10:12], "big") & 0x0FFF)
    found = set()
    while at + 5 <= len(section) - 4:
        kind, pid = section[at], int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF
        if kind in PICTURES:
            found.add((pid, kind))
        at += 5 + (int.from_bytes(section[at + 3 : at + 5], "big") & 0x0FFF)
    return int.from_bytes(section[3:5], "big"), frozenset(found)
