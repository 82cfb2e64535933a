"""Video time: seconds since the first frame that always rise, made of time stamps that need not."""

from __future__ import annotations

from dataclasses import dataclass, field

RESET_S = 0.5
"""Stamps that go back by more began anew; by less they are out of order."""
JUMP_S = 10.0
"""In formats whose clock may jump, a longer step forward is no spacing: FFmpeg's own limit (dts_delta_threshold)."""
SPACING_S = 30 * 3600.0
"""In all others, where frames may lie far apart on purpose: FFmpeg's limit too (dts_error_threshold)."""
JUMPING_FORMATS = frozenset({"mpegts", "mpeg"})
LEAST_STEP_S = 0.001
MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class Jump:
    """A place where the recording's own clock does not go on."""

    frame: int
    """The first frame after it."""
    time_s: float
    """Video time of that frame."""
    from_s: float
    """The recording's own time before, in seconds."""
    to_s: float
    """And after."""


@dataclass
class Clock:
    """Turns stamps into video time, frame by frame."""

    jumps: list[Jump] = field(default_factory=list)
    """The first ones."""
    jump_count: int = 0
    out_of_order: int = 0
    """Frames whose stamp was not later than the one before."""
    time_s: float = 0.0
    """Of the last frame."""
    usual_s: float = 0.04
    """Step between frames, as the header or the last frames have it."""
    _limit_s: float = SPACING_S
    _frames: int = 0
    _offset_s: float = 0.0
    _stamp_s: float | None = None
    _step_s: float = 0.0

    def begin(self, container_format: str, step_s: float) -> None:
        """A part begins: its stamps have nothing to do with those before."""
        self.usual_s = step_s
        self._limit_s = max(JUMP_S if container_format in JUMPING_FORMATS else SPACING_S, 10 * step_s)
        self._stamp_s = None
        self._step_s = 0.0

    def at(self, stamp_s: float | None) -> float:
        """The next frame's video time; a frame without a stamp is one usual step later than the one before."""
        next_s = self.time_s + self.usual_s if self._frames else 0.0
        if stamp_s is None:
            self.time_s = next_s
        elif self._stamp_s is None:
            self._offset_s = next_s - stamp_s
            self.time_s, self._stamp_s = next_s, stamp_s
        else:
            self._advance(stamp_s, self._stamp_s, next_s)
        self._frames += 1
        return self.time_s

    def _advance(self, stamp_s: float, before_s: float, next_s: float) -> None:
        step_s = stamp_s - before_s
        spaced = self._step_s > 0 and step_s < 2 * self._step_s
        if step_s < -RESET_S or (step_s > self._limit_s and not spaced):
            self._offset_s = next_s - stamp_s
            self.time_s, self._stamp_s = next_s, stamp_s
            self._note(before_s, stamp_s)
            self._step_s = step_s
        elif step_s == 0:
            self.out_of_order += 1
            self.time_s = next_s
        else:
            self.out_of_order += step_s < 0
            self.time_s = max(stamp_s + self._offset_s, self.time_s + LEAST_STEP_S)
            if step_s > 0:
                self._step_s, self._stamp_s = step_s, stamp_s

    def _note(self, from_s: float, to_s: float) -> None:
        self.jump_count += 1
        if len(self.jumps) < MOST_LISTED:
            self.jumps.append(Jump(self._frames, self.time_s, from_s, to_s))
