"""Keeps ffmpeg recording one camera: begins it again whenever it ends, and accounts for the time between.

What is to be written down is done in order, and again until the disk takes it; film goes on meanwhile.
"""

from __future__ import annotations

import os
import queue
import random
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO

from recorder import clock, disks, files, fragments, keep, ledger
from recorder.ledger import Gap
from recorder.open_gap import OpenGap, gaps_of, recall, remember
from recorder.settings import Settings
from recorder.source import Input

LOOK_S = 1.0
LEAVE_S = 10.0
"""How long ffmpeg may take to close its segment."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
TIDY_EVERY_S = 60.0
COMPLAIN_EVERY_S = 60.0
ANEW_S = 60.0
SAME_S = 0.01
"""Times are written in milliseconds."""
DOUBTED_STEP_S, DOUBT_S = 3600.0, 86_400.0
"""A clock that jumps ahead makes all film old at once: somebody has a day to set it right."""
SILENT_S = 2.5
"""A file that is shorter than the time that it took by more than this ends where the camera fell silent."""
SEAM_S = 3.0
"""Between two files of one life of ffmpeg."""
SLOW_S = 5.0
"""A disk that takes longer for a file is slow."""
CAMERA_CLOCK_S = 10.0
"""A file whose own time differs more from the time that it took has the camera's clock wrong in it."""
REFUSED = re.compile(r"\b(401 Unauthorized|403 Forbidden|404 Not Found|4XX Client Error)")
"""In what ffmpeg prints where a camera answers and says no."""

Log = Callable[[str], None]


def command(settings: Settings, source: Input, staging: Path) -> list[str]:
    """ffmpeg's arguments: a stream copy of the video into fragmented MP4, cut at marks of the clock."""
    return [
        *(settings.ffmpeg, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error"),
        # A camera whose clock is set has its pictures where they came: else its files last for hours or for no time.
        *("-dts_error_threshold", str(CAMERA_CLOCK_S)),
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
    _doubted_until: float = float("-inf")
    """Until then no film goes for its age."""
    _complained: float = float("-inf")
    _todo: deque[Callable[[], object]] = field(default_factory=deque)
    """What is to be written down, in order."""
    _waiting: set[str] = field(default_factory=set)
    """Names of closed files that are yet to get their place."""
    _left: set[str] = field(default_factory=set)
    """Files that an earlier process left."""
    _slow: bool = True
    """Whether the disk was slow, as far as is known."""
    _last: str | None = None
    """The last file that was kept."""

    @property
    def staging(self) -> Path:
        """Where ffmpeg writes."""
        return self.settings.folder / ledger.STAGING

    def stop(self) -> None:
        """End the recording; may be called from a signal's handler."""
        self._stopped.set()

    def run(self) -> None:
        """Record until it is stopped."""
        # From here to the first segment is a gap that began where the last recording ended.
        open_gap = self._taken_over()
        pause_s = FIRST_PAUSE_S
        read_only = None
        while not self._stopped.is_set():
            outcome = _Outcome(open_gap, time.time(), clock.offset_s())
            try:
                self._once(outcome)
            except OSError as error:
                outcome.reason, outcome.detail = disks.reason_of(error), disks.words_of(error, self.settings)
            if self._stopped.is_set():
                break
            if outcome.kept:
                pause_s = FIRST_PAUSE_S
            began = OpenGap(outcome.began, outcome.reason, offset_s=outcome.offset_s)
            open_gap = (outcome.gap or open_gap or began).because(outcome.reason, outcome.detail)
            self._remember(open_gap)
            again_s = 0.0 if outcome.reason == clock.CHANGED else pause_s
            self.log(f"{outcome.reason}: {outcome.detail or 'ffmpeg ended'}; again in {again_s:.0f} s")
            read_only = (read_only or time.monotonic()) if outcome.reason == disks.READ_ONLY else None
            if read_only is not None:
                self._anew_after(read_only)
            self._tidy()
            self._stopped.wait(again_s * random.uniform(0.8, 1.2))  # noqa: S311 - cameras behind one switch
            if again_s:
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
        self._settle()
        last = self._recorded_until()
        if last is not None:
            self._remember(OpenGap(last, "stopped", offset_s=clock.offset_s()))

    def _anew_after(self, since: float) -> None:
        """A unit that began while a disk was read-only sees it so even when it no longer is: systemd begins it anew."""
        if time.monotonic() - since > ANEW_S:
            self.log("it is begun anew, to see whether the disk can be written now")
            raise SystemExit(1)

    # --- what is written down

    def _do(self, action: Callable[[], object]) -> None:
        self._todo.append(action)
        self._settle()

    def _settle(self) -> None:
        """Write down what waits, as far as the disks take it."""
        while self._todo:
            try:
                self._todo[0]()
            except OSError as error:
                self._complain(error)
                return
            self._todo.popleft()

    def _complain(self, error: OSError) -> None:
        if time.monotonic() - self._complained > COMPLAIN_EVERY_S:
            self._complained = time.monotonic()
            what = disks.words_of(error, self.settings)
            self.log(f"{disks.reason_of(error)}: {what}; tried again until it is taken")

    def _tidy(self) -> None:
        """Once a minute, whether the camera is there or not."""
        if time.monotonic() - self._tidied > TIDY_EVERY_S:
            self._tidied = time.monotonic()
            try:
                by_days = time.monotonic() >= self._doubted_until
                keep.tidy(self.settings, time.time(), self.log, by_days=by_days)
            except OSError as error:
                self._complain(error)

    def _remember(self, gap: OpenGap | None) -> None:
        # When it is its turn, all files before it have their place.
        self._do(lambda: remember(self.settings, gap and replace(gap, after=self._last)))
        if gap is not None and self._todo:
            # What waits may wait for another disk; why there is no film is to be seen now.
            try:
                remember(self.settings, replace(gap, after=self._last))
            except OSError as error:
                self._complain(error)

    # --- what an earlier process left

    def _taken_over(self) -> OpenGap | None:
        """What an earlier process left, as soon as the disks let it be taken over."""
        pause_s, began = FIRST_PAUSE_S, time.monotonic()
        while not self._stopped.is_set():
            try:
                self.staging.mkdir(parents=True, exist_ok=True)
                self.settings.state_folder.mkdir(parents=True, exist_ok=True)
                open_gap = self._before()
                remember(self.settings, open_gap and replace(open_gap, after=self._last))
            except OSError as error:
                self._complain(error)
                if disks.reason_of(error) == disks.READ_ONLY:
                    self._anew_after(began)
                self._stopped.wait(pause_s)
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
            else:
                return open_gap
        return None

    def _recorded_until(self) -> float | None:
        """The end of the last segment; None where there is none. By order: a clock may have been set back."""
        last = None
        for last in ledger.segments(self.settings):
            self._last = last.file
        return None if last is None else last.end

    def _before(self) -> OpenGap | None:
        """Take over what an earlier process left: its segments, and the time since it ended."""
        for staged in sorted(self.staging.iterdir()):
            segment = None
            if fragments.film_of(staged).whole_bytes:
                written_s = _written_s(staged)
                fragments.cut(staged)
                segment = ledger.keep(self.settings, staged, written_s)
            if segment is None:
                staged.unlink(missing_ok=True)
                continue
            self._left.add(segment.file)
            self.log(f"{segment.file}: left by a recorder that was killed, and kept")
        before, same_boot = recall(self.settings)
        last = self._recorded_until()
        ended = before is not None and self._ended(before)
        self._note_between()
        if before is not None and not ended:
            return before if before.after else replace(before, start=max(before.start, last or 0.0))
        if last is None:
            return None
        return OpenGap(last, "killed" if same_boot else "node_down", offset_s=clock.offset_s() if same_boot else None)

    def _ended(self, gap: OpenGap) -> bool:
        """Whether film came after a gap that was open when the process was killed; then it is noted, if it was not."""
        segments = list(ledger.segments(self.settings))
        names = [one.file for one in segments]
        if gap.after in names:
            later = segments[names.index(gap.after) + 1 :]
        else:
            later = [one for one in segments if one.start >= gap.start]
        if not later:
            return False
        if not any(abs(noted.start - gap.start) < SAME_S for noted in ledger.gaps(self.settings)):
            for one in gaps_of(gap, later[0].start, None):
                ledger.note(self.settings, one)
        return True

    def _note_between(self) -> None:
        """Note what lies before a file that was left, where a disk did not take that in time."""
        gaps = list(ledger.gaps(self.settings)) if self._left else []
        for one, other in pairwise(ledger.segments(self.settings) if self._left else ()):
            noted = any(gap.start < other.start and gap.end > one.end for gap in gaps)
            if other.file in self._left and other.start - one.end > SEAM_S and not noted:
                ledger.note(self.settings, Gap(one.end, other.start, "killed"))

    # --- recording

    def _once(self, outcome: _Outcome) -> None:
        """One life of ffmpeg. Raises OSError where the disk takes no film."""
        self.staging.mkdir(exist_ok=True)
        disks.try_to_write(self.staging)
        with _Program(command(self.settings, self.source, self.staging), self.source) as ffmpeg:
            self._watch(ffmpeg, outcome)
        for closed in ffmpeg.rest():
            self._close(closed, outcome, is_last=True)
        for staged in sorted(self.staging.iterdir()):  # killed before it could say that it was closed
            if staged.name in self._waiting:
                continue
            self._keep(staged, _written_s(staged), None, outcome)
        if outcome.reason == "camera_lost":
            self._explain(ffmpeg, outcome)

    def _explain(self, ffmpeg: _Program, outcome: _Outcome) -> None:
        """Why ffmpeg ended: with 0 at a frozen camera, and with the same code for much else."""
        words = ffmpeg.words
        outcome.detail = words[-1] if words else f"the stream ended, ffmpeg with {ffmpeg.process.returncode}"
        refused = next((found.group(1) for line in words if (found := REFUSED.search(line))), None)
        if refused is not None and not outcome.kept:
            outcome.reason, outcome.detail = "camera_refused", self._refused(refused)
        elif (disk := disks.reason_in(words)) is not None:
            outcome.reason, outcome.detail = disk, disks.words(disk, self.settings, None)
        else:
            disks.try_to_write(self.staging)

    def _refused(self, answer: str) -> str:
        meaning = "it refuses this address"
        if answer.startswith("401"):
            meaning = "it wants a user and a password: name them as its secret"
            if self.source.secrets:
                meaning = "wrong user or password: correct its secret and deploy again"
        elif answer.startswith("403"):
            meaning = "its user may not see this stream"
        elif answer.startswith("404"):
            meaning = "it has no such stream: correct the path in its address"
        return f"the camera answers {answer}: {meaning}"

    def _watch(self, ffmpeg: _Program, outcome: _Outcome) -> None:
        """Take in what it closes until it ends, is stopped, or closes nothing for too long."""
        limit_s, seen = 2 * self.settings.segment_s + 30, time.monotonic()
        while ffmpeg.alive():
            closed = ffmpeg.closed_within(LOOK_S)
            # Another file follows: this one ended just then. The last one ended when the camera fell silent.
            is_last = not ffmpeg.alive() or self._stopped.is_set()
            if closed is not None and self._close(closed, outcome, is_last=is_last):
                seen = time.monotonic()
            if self._stopped.is_set():
                return
            step_s = clock.offset_s() - outcome.offset_s
            if abs(step_s) > clock.CHANGED_S:
                # The next file begins under the new time: no file has both, and none gets the name of the one in hand.
                outcome.reason, outcome.detail = clock.CHANGED, clock.words(step_s)
                if step_s > DOUBTED_STEP_S:
                    self._doubted_until = time.monotonic() + DOUBT_S
                return
            if time.monotonic() - seen > limit_s:
                outcome.reason, outcome.detail = "no_segment", f"no segment was closed for {limit_s} s"
                return
            self._settle()
            self._tidy()

    def _close(self, closed: _Closed, outcome: _Outcome, *, is_last: bool) -> bool:
        """Take in a line of ffmpeg's list: name, start and end in its own time."""
        name, _, times = closed.line.strip().partition(",")
        first, _, last = times.partition(",")
        staged = self.staging / Path(name).name
        try:
            duration_s = max(0.0, float(last) - float(first))
        except ValueError:
            return False
        if not staged.exists():
            return False
        if is_last or abs(closed.offset_s - outcome.offset_s) > clock.CHANGED_S:
            end, silent = None, False
            duration_s = min(duration_s, closed.monotonic - outcome.mark + CAMERA_CLOCK_S)
            if fragments.film_of(staged).is_broken:  # the disk took no more
                duration_s = min(duration_s, _written_s(staged))
        else:
            began = ledger.started_at(staged.name) or closed.at
            if outcome.kept:
                began = closed.at - (closed.monotonic - outcome.mark)
            took_s = closed.at - began
            if duration_s - took_s > CAMERA_CLOCK_S:
                self.log(f"{staged.name}: {duration_s:.0f} s by the camera's clock, and it took {took_s:.0f} s")
                duration_s = took_s
            # ffmpeg that waits for a frozen camera closes its file late, and has a last picture for one more.
            silent = took_s - duration_s > SILENT_S
            end = began + duration_s if silent else closed.at
        outcome.mark = closed.monotonic
        self._keep(staged, duration_s, end, outcome)
        if silent and outcome.gap is not None:
            outcome.before = outcome.gap.because("camera_lost", "nothing came")
        return True

    def _keep(self, staged: Path, duration_s: float, end: float | None, outcome: _Outcome) -> None:
        span = ledger.span(staged, duration_s, end)
        if span is None or not fragments.film_of(staged).whole_bytes:
            self._do(partial(staged.unlink, missing_ok=True))
            return
        start, until = span
        self._waiting.add(staged.name)
        self._do(partial(self._kept, staged, duration_s, end))
        open_gap, outcome.before = outcome.before, None
        if open_gap is not None:
            for gap in gaps_of(open_gap, start, outcome.offset_s):
                self._do(partial(ledger.note, self.settings, gap))
            self._remember(None)
        outcome.kept += 1
        outcome.gap = OpenGap(until, outcome.reason, offset_s=_clock_of(staged, outcome.offset_s))

    def _kept(self, staged: Path, duration_s: float, end: float | None) -> None:
        began = time.monotonic()
        with suppress(FileNotFoundError):
            fragments.cut(staged)
        segment = ledger.keep(self.settings, staged, duration_s, end)
        self._waiting.discard(staged.name)
        if segment is not None:
            self._last = segment.file
            self._timed(segment, time.monotonic() - began)

    def _timed(self, segment: ledger.Segment, took_s: float) -> None:
        """Have the status name a disk that is slow, and no longer when it is not."""
        slow_s = round(took_s, 1) if took_s > SLOW_S else None
        if slow_s is not None:
            self.log(f"{segment.file}: its disk is slow, {slow_s} s for {segment.size_bytes >> 10} KiB")
        if slow_s is not None or self._slow:
            self._slow = slow_s is not None
            files.write(self.settings.state_folder / "disk.json", {"slow_s": slow_s})


@dataclass
class _Outcome:
    """What came of one life of ffmpeg."""

    before: OpenGap | None
    """The gap that its first segment ends."""
    began: float
    offset_s: float
    """By which clock it began."""
    mark: float = field(default_factory=time.monotonic)
    """When it began or last closed a file, in time that really goes by."""
    kept: int = 0
    gap: OpenGap | None = None
    reason: str = "camera_lost"
    """ffmpeg ends with 0 at a frozen camera: whatever ends it, the camera is lost."""
    detail: str = ""


@dataclass(frozen=True)
class _Closed:
    """A line of ffmpeg's list, and when it came, however late it is read here."""

    line: str
    at: float
    monotonic: float
    offset_s: float


class _Program:
    """ffmpeg at work; after the block it has ended, if need be by force."""

    def __init__(self, arguments: list[str], source: Input) -> None:
        self.words: list[str] = []
        """The last lines that it printed, without secrets."""
        self._source = source
        self._closed: queue.Queue[_Closed] = queue.Queue()
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
            threading.Thread(target=_pump, args=(self.process.stdout, self._line), daemon=True),
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

    def closed_within(self, limit_s: float) -> _Closed | None:
        """The next line of its list, or None after a while."""
        try:
            return self._closed.get(timeout=limit_s)
        except queue.Empty:
            return None

    def rest(self) -> list[_Closed]:
        """The lines of its list that were not taken yet."""
        lines = []
        while not self._closed.empty():
            lines.append(self._closed.get())
        return lines

    def _line(self, line: str) -> None:
        self._closed.put(_Closed(line, time.time(), time.monotonic(), clock.offset_s()))

    def _word(self, line: str) -> None:
        self.words.append(self._source.clean(line.strip())[:300])
        del self.words[:-20]


def _pump(stream: IO[str], take: Callable[[str], object]) -> None:
    with stream:
        for line in stream:
            take(line)


def _clock_of(staged: Path, before_s: float) -> float:
    """The clock by which a file that was just closed has its name: that of `before_s`, or where somebody set it since
    and ffmpeg had cut at once, the one of now."""
    named, boot_s = ledger.started_at(staged.name) or 0.0, time.clock_gettime(time.CLOCK_BOOTTIME)
    return min((before_s, clock.offset_s()), key=lambda offset_s: abs(boot_s + offset_s - named))


def _written_s(staged: Path) -> float:
    """How long a file is that was not closed: from the time in its name to the last write to it."""
    start = ledger.started_at(staged.name)
    return max(0.0, staged.stat().st_mtime - start) if start is not None else 0.0
