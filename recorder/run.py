"""Keeps ffmpeg recording one camera: begins it again whenever it ends, and accounts for the time between."""

from __future__ import annotations

import os
import queue
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from recorder import files, keep, ledger
from recorder.ledger import Gap
from recorder.settings import Settings
from recorder.source import Input

LOOK_S = 1.0
LEAVE_S = 10.0
"""How long ffmpeg may take to close its segment."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
REFUSED = ("401", "403", "404", "Unauthorized", "Forbidden", "Not Found")
"""In what ffmpeg prints where a camera answers and says no."""
TIDY_EVERY_S = 60.0
CLOCK_CHANGED_S = 5.0
SAME_S = 0.01
"""Times are written in milliseconds."""

Log = Callable[[str], None]


def command(settings: Settings, source: Input, staging: Path) -> list[str]:
    """ffmpeg's arguments: a stream copy of the video into fragmented MP4, cut at marks of the clock."""
    return [
        *(settings.ffmpeg, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error"),
        *source.arguments,
        *("-map", "0:v:0", "-c", "copy", "-an", "-f", "segment"),
        *("-segment_time", str(settings.segment_s), "-segment_atclocktime", "1"),
        *("-reset_timestamps", "1", "-strftime", "1", "-segment_format", "mp4"),
        # Readable up to its last fragment after a kill; plain MP4 is lost whole.
        *("-segment_format_options", "movflags=+frag_keyframe+empty_moov+default_base_moof:flush_packets=1"),
        *("-segment_list", "pipe:1", "-segment_list_type", "csv"),
        str(staging / ledger.PATTERN),
    ]


@dataclass
class Recorder:
    """One camera; `run` ends when `stop` was called."""

    settings: Settings
    source: Input
    log: Log
    _stopped: threading.Event = field(default_factory=threading.Event)
    _tidied: float = float("-inf")

    @property
    def staging(self) -> Path:
        """Where ffmpeg writes."""
        return self.settings.folder / ledger.STAGING

    def stop(self) -> None:
        """End the recording; may be called from a signal's handler."""
        self._stopped.set()

    def run(self) -> None:
        """Record until it is stopped."""
        self.staging.mkdir(parents=True, exist_ok=True)
        self.settings.state_folder.mkdir(parents=True, exist_ok=True)
        # From here to the first segment is a gap that began where the last recording ended.
        open_gap = self._before()
        self._remember(open_gap)
        pause_s = FIRST_PAUSE_S
        while not self._stopped.is_set():
            began = time.time()
            outcome = self._once(open_gap)
            if self._stopped.is_set():
                break
            if outcome.kept:
                pause_s = FIRST_PAUSE_S
            open_gap = outcome.gap or open_gap or _Open(began, "camera_lost")
            open_gap = _Open(open_gap.start, outcome.reason, outcome.detail)
            self._remember(open_gap)
            self.log(f"{outcome.reason}: {outcome.detail or 'ffmpeg ended'}; again in {pause_s:.0f} s")
            self._tidy()
            self._stopped.wait(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - cameras behind one switch
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
        last = self._recorded_until()
        if last is not None:
            self._remember(_Open(last, "stopped"))

    def _tidy(self) -> None:
        """Once a minute, whether the camera is there or not."""
        if time.monotonic() - self._tidied > TIDY_EVERY_S:
            keep.tidy(self.settings, time.time(), self.log)
            self._tidied = time.monotonic()

    def _recorded_until(self) -> float | None:
        """The end of the last segment; None where there is none."""
        return max((segment.end for segment in ledger.segments(self.settings)), default=None)

    def _before(self) -> _Open | None:
        """Take over what an earlier process left: its segments, and the time since it ended."""
        for staged in sorted(self.staging.iterdir()):
            segment = ledger.keep(self.settings, staged, _duration_s(staged))
            if segment is not None:
                self.log(f"{segment.file}: left by a recorder that was killed, and kept")
        remembered = files.read(self.settings.state_folder / "now.json")
        last = self._recorded_until()
        if "reason" in remembered:
            before = _Open(float(remembered["start"]), str(remembered["reason"]), str(remembered.get("detail", "")))
            if not self._ended(before):
                return _Open(max(before.start, last or 0.0), before.reason, before.detail)
        if last is None:
            return None
        down = remembered.get("boot") != _boot()
        return _Open(last, "node_down" if down else "killed")

    def _ended(self, gap: _Open) -> bool:
        """Whether film came after a gap that was open when the process was killed; then it is noted, if it was not."""
        end = min((one.start for one in ledger.segments(self.settings) if one.start >= gap.start), default=None)
        if end is None:
            return False
        if not any(abs(noted.start - gap.start) < SAME_S for noted in ledger.gaps(self.settings)):
            ledger.note(self.settings, Gap(gap.start, end, gap.reason, gap.detail))
        return True

    def _remember(self, gap: _Open | None) -> None:
        document: dict[str, object] = {"boot": _boot()}
        if gap is not None:
            document.update(start=gap.start, reason=gap.reason, detail=gap.detail)
        files.write(self.settings.state_folder / "now.json", document)

    def _once(self, open_gap: _Open | None) -> _Outcome:
        """One life of ffmpeg."""
        outcome = _Outcome(open_gap)
        with _Program(command(self.settings, self.source, self.staging), self.source) as ffmpeg:
            self._watch(ffmpeg, outcome)
        for line in ffmpeg.rest():
            self._close(line, None, outcome)
        for staged in sorted(self.staging.iterdir()):  # killed before it could say that it was closed
            self._kept(ledger.keep(self.settings, staged, _duration_s(staged)), outcome)
        if outcome.reason == "camera_lost":
            words = ffmpeg.words
            outcome.detail = words[-1] if words else f"the stream ended, ffmpeg with {ffmpeg.process.returncode}"
            if not outcome.kept and any(word in line for line in words for word in REFUSED):
                outcome.reason = "camera_refused"
        return outcome

    def _watch(self, ffmpeg: _Program, outcome: _Outcome) -> None:
        """Take in what it closes until it ends, is stopped, or closes nothing for too long."""
        limit_s, seen = 2 * self.settings.segment_s + 30, time.monotonic()
        while ffmpeg.alive():
            line = ffmpeg.closed_within(LOOK_S)
            # Another segment follows: this one ended just now. The last one ended when the camera fell silent.
            end = time.time() if ffmpeg.alive() and not self._stopped.is_set() else None
            if line is not None and self._close(line, end, outcome):
                seen = time.monotonic()
            if self._stopped.is_set():
                return
            if time.monotonic() - seen > limit_s:
                outcome.reason, outcome.detail = "no_segment", f"no segment was closed for {limit_s} s"
                return
            self._tidy()

    def _close(self, line: str, end: float | None, outcome: _Outcome) -> bool:
        """Take in a line of ffmpeg's list: name, start and end in its own time."""
        name, _, times = line.strip().partition(",")
        first, _, last = times.partition(",")
        staged = self.staging / Path(name).name
        try:
            duration_s = max(0.0, float(last) - float(first))
        except ValueError:
            return False
        if not staged.exists():
            return False
        return self._kept(ledger.keep(self.settings, staged, duration_s, end), outcome)

    def _kept(self, segment: ledger.Segment | None, outcome: _Outcome) -> bool:
        if segment is None:
            return False
        open_gap, outcome.before = outcome.before, None
        if open_gap is not None:
            if segment.start >= open_gap.start:
                ledger.note(self.settings, Gap(open_gap.start, segment.start, open_gap.reason, open_gap.detail))
            self._remember(None)
        elif outcome.end is not None and abs(segment.start - outcome.end) > CLOCK_CHANGED_S:
            # ffmpeg went on, and this one does not begin where the last one ended: somebody set the clock.
            early, late = sorted((outcome.end, segment.start))
            ledger.note(self.settings, Gap(early, late, "clock_changed"))
        outcome.kept += 1
        outcome.end = segment.end
        outcome.gap = _Open(segment.end, "camera_lost")
        return True


@dataclass(frozen=True)
class _Open:
    """A gap that has not ended."""

    start: float
    reason: str
    detail: str = ""


@dataclass
class _Outcome:
    """What came of one life of ffmpeg."""

    before: _Open | None
    """The gap that its first segment ends."""
    kept: int = 0
    end: float | None = None
    gap: _Open | None = None
    reason: str = "camera_lost"
    """ffmpeg ends with 0 at a frozen camera: whatever ends it, the camera is lost."""
    detail: str = ""


class _Program:
    """ffmpeg at work; after the block it has ended, if need be by force."""

    def __init__(self, arguments: list[str], source: Input) -> None:
        self.words: list[str] = []
        """The last lines that it printed, without secrets."""
        self._source = source
        self._closed: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "TZ": "UTC"},
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=_pump, args=(self.process.stdout, self._closed.put), daemon=True),
            threading.Thread(target=_pump, args=(self.process.stderr, self._word), daemon=True),
        ]

    def __enter__(self) -> _Program:
        for reader in self._readers:
            reader.start()
        # A program that ended at once reads nothing; its words say why.
        with suppress(BrokenPipeError), self.process.stdin or nullcontext() as stream:
            if stream is not None:
                stream.write(self._source.list_text or "")
        return self

    def __exit__(self, *_: object) -> None:
        """Let it close its segment; a process that hangs is killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for reader in self._readers:
            reader.join(LEAVE_S)

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def closed_within(self, limit_s: float) -> str | None:
        """The next line of its list, or None after a while."""
        try:
            return self._closed.get(timeout=limit_s)
        except queue.Empty:
            return None

    def rest(self) -> list[str]:
        """The lines of its list that were not taken yet."""
        lines = []
        while not self._closed.empty():
            lines.append(self._closed.get())
        return lines

    def _word(self, line: str) -> None:
        self.words.append(self._source.clean(line.strip())[:300])
        del self.words[:-20]


def _pump(stream: IO[str], take: Callable[[str], object]) -> None:
    with stream:
        for line in stream:
            take(line)


def _duration_s(staged: Path) -> float:
    """Of a file that was not closed: from the time in its name to the last write to it."""
    start = ledger.started_at(staged.name)
    return max(0.0, staged.stat().st_mtime - start) if start is not None else 0.0


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
