"""Counts the frames that a recording lost: what the container gave against what the decoder showed.

A distance in time alone is no loss: a recorder may space its frames as it likes. A loss is a wider step than usual with
a reason in the file: packets that gave no frame, packets marked as damaged, or bytes that are part of no packet.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

WIDE = 1.5
"""A step this many times the usual one is wider than usual."""
USUAL_OF = 15
LEARNED_FROM = 3
"""The usual step is the median of the last ones: so many, if there are at least that many; else that of the header."""
DAMAGE_PACKETS = 8
"""A sign of damage counts for the gaps so many packets around it."""
STRAY_BYTES = 4096
"""More than a container's own bookkeeping between two packets; Matroska and FLV use some tens of bytes."""
CONTIGUOUS_FORMATS = frozenset({"matroska", "webm", "flv"})
"""Formats whose packets lie one after another, and whose packets' positions and sizes are those of the file."""
BROADCAST_FORMATS = frozenset({"mpegts", "mpeg"})
"""Formats without an index, made for lines that lose bytes. A continuity counter of four bits misses one hole in 16."""
MOST_PENDING = 100_000
MOST_LISTED = 100
LEAST_LOST_S = 0.5
"""What a recording may lose without being called faulty: less than this altogether, ..."""
LONGEST_GAP_S = 1.0
"""... or no longer gap than this, and ..."""
MOST_LOST_SHARE = 0.01
"""... no more of its frames."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames missing in one place."""

    frame: int
    """The first frame after it, or the number of frames where the end is missing."""
    time_s: float
    """Video time at which it begins."""
    frames: int


@dataclass
class Losses:
    """Fed with every packet and frame of the stream that is read, in the order in which they come."""

    gaps: list[Gap] = field(default_factory=list)
    """The first ones."""
    missing: int = 0
    """Frames, in all gaps."""
    longest: int = 0
    """Frames in the longest one."""
    refused: int = 0
    """Packets that the decoder refused, and frames that it marked as damaged."""
    _contiguous: bool = False
    _broadcast: bool = False
    _stamped: bool = True
    _usual: deque[float] = field(default_factory=lambda: deque(maxlen=USUAL_OF))
    _step: float = 1.0
    _pending: list[tuple[int, int]] = field(default_factory=list)
    """Epoch and stamp of packets that have shown nothing yet, in decoding order."""
    _epoch: int = 0
    _decoding_stamp: int | None = None
    _packets: int = 0
    _frames: int = 0
    """Both of the current part."""
    _stray_at: int = -DAMAGE_PACKETS - 1
    """Count of packets at the last sign that bytes are missing."""
    _end_byte: int = 0
    _last: tuple[int, int] | None = None

    def begin(self, container_format: str, usual_step: float, *, stamped: bool) -> None:
        """A part begins; `usual_step` in units of its stamps. `stamped`: packets carry the time they are shown at."""
        formats = set(container_format.split(","))
        self._contiguous, self._broadcast = bool(CONTIGUOUS_FORMATS & formats), bool(BROADCAST_FORMATS & formats)
        self._stamped, self._step = stamped, usual_step
        self._usual.clear()
        self._pending.clear()
        self._packets = self._frames = 0
        self._stray_at = -DAMAGE_PACKETS - 1
        self._end_byte, self._last, self._decoding_stamp = 0, None, None

    def bytes_read(self, position: int | None, size_bytes: int) -> None:
        """A packet of any stream was read from there."""
        if not self._contiguous or position is None:
            return
        if self._end_byte and position - self._end_byte > STRAY_BYTES:
            self._stray_at = self._packets
        self._end_byte = position + size_bytes

    def packet(self, pts: int | None, dts: int | None, *, corrupt: bool) -> None:
        """A packet of the stream goes to the decoder (not one that the container hides: those are never shown)."""
        self._packets += 1
        if corrupt:
            self._stray_at = self._packets
        if not self._stamped or pts is None:
            return
        decoding = dts if dts is not None else pts
        if self._decoding_stamp is not None and decoding < self._decoding_stamp - 4 * self._step:
            self._epoch += 1
        self._decoding_stamp = decoding
        self._pending.append((self._epoch, pts))
        if len(self._pending) > MOST_PENDING:
            del self._pending[0]

    def damage(self) -> None:
        """The decoder refused the last packet, or marked a frame as damaged."""
        self.refused += 1
        if self._broadcast:
            # Half a picture stands on either side of a hole.
            self._stray_at = self._packets

    def frame(self, pts: int | None, index: int, before_s: float, *, bridged: bool) -> None:
        """Frame `index` is shown; `before_s` is the video time at which the one before it ended.

        `bridged`: the clock jumped here, and the distance in time says nothing.
        """
        self._frames += 1
        if not self._stamped or pts is None:
            return
        if self._pending and self._pending[0][1] == pts:  # the usual case: nothing is lost, nothing out of order
            shown, passed = self._pending.pop(0), 0
            if self._pending and min(self._pending) < shown:
                passed = self._pass(shown)
        else:
            found = next((one for one in self._pending if one[1] == pts), None)
            if found is None:
                return
            shown, passed = found, self._pass(found)
        if self._last is None:
            self._note(index, before_s, passed)
        elif self._last[0] == shown[0] and not bridged:
            self._step_to(pts - self._last[1], passed, index, before_s)
        else:
            self._note(index, before_s, passed)
        self._last = shown

    def _pass(self, shown: tuple[int, int]) -> int:
        """Packets that should have been shown before; they and this one wait no longer."""
        passed = sum(one < shown for one in self._pending)
        self._pending = [one for one in self._pending if one > shown]
        return passed

    def _step_to(self, step: int, passed: int, index: int, before_s: float) -> None:
        if step > WIDE * self._step or self._frames % USUAL_OF == 0:
            self._step = self._learned()
        if step > WIDE * self._step:
            stray = self._packets - self._stray_at <= DAMAGE_PACKETS
            self._note(index, before_s, max(passed, round(step / self._step) - 1 if stray else 0))
        self._usual.append(step)

    def _learned(self) -> float:
        return median(self._usual) if len(self._usual) >= LEARNED_FROM else self._step

    def end(self, frames: int, time_s: float) -> None:
        """The part is read to its end, at this count of frames and video time."""
        if self._stamped and self._last is not None:
            latest, usual = self._last, self._learned()
            left = sum(
                one[0] > latest[0] or (one[0] == latest[0] and one[1] > latest[1] + usual / 2) for one in self._pending
            )
            self._note(frames, time_s, left)
        elif self._frames:
            # Without times it is not known where; the decoder was given more than it showed.
            self._note(frames, time_s, max(0, self._packets - self._frames))

    def unplaced(self, frames: int, index: int, time_s: float) -> None:
        """So many frames that an index lists were not found; it is not known where."""
        self._note(index, time_s, frames)

    def _note(self, index: int, time_s: float, frames: int) -> None:
        if frames <= 0:
            return
        self.missing += frames
        self.longest = max(self.longest, frames)
        if len(self.gaps) < MOST_LISTED:
            self.gaps.append(Gap(index, time_s, frames))

    def too_many(self, frames: int, step_s: float) -> bool:
        """Whether so many frames are missing that the recording is called faulty."""
        if self.missing * step_s < LEAST_LOST_S:
            return False
        return self.longest * step_s > LONGEST_GAP_S or self.missing > MOST_LOST_SHARE * (frames + self.missing)
