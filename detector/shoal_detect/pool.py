"""Shares the videos of a run out among one process per core; a long video among several of them.

Each takes the next video as it gets free. Where no video is left and one in hand has many segments before it, a free
process takes over the later half of them. What comes out does not depend on who did what.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from shoal_detect.errors import DetectorError
from shoal_detect.messages import Done, Join, Read, Task
from shoal_detect.progress import VideoProgress
from shoal_detect.read.videos import Video
from shoal_detect.state import segments
from shoal_detect.state.settings import Settings
from shoal_detect.state.store import Document
from shoal_detect.stop import Stop
from shoal_detect.worker import LEAVE_S, LOOK_S, Died, Worker

Thing = TypeVar("Thing")

LEAST_SHARED = 2
"""Segments that a process takes over, at least: before it can begin, it reads all that comes before them."""
MOST_READ = 8
"""It reads at most so many times as much as it takes over."""


class _Halted(Exception):  # noqa: N818 - the way out of a thread
    """Another thread met the error that ends the run, or ended the video."""


@dataclass(eq=False, slots=True)
class _Lane:
    """One process's part of a video."""

    worker: Worker
    first: int
    end: int | None = None


@dataclass(eq=False, slots=True)
class _Hand:
    """A video in hand."""

    video: Video
    progress: VideoProgress
    lanes: list[_Lane] = field(default_factory=list)
    waiting: Task | Join | None = None
    """What is to be done next, once all lanes are at their end."""
    ended: bool = False
    """What the lanes still do is of no use."""
    alone: bool = False
    """A decoder died of it: one process reads what came before, and no other one goes there."""
    frames: int = 0
    """Of lanes that are at their end; detections likewise."""
    detections: int = 0


class Pool:
    """The processes of a run, and which video each is at. Made by `working`."""

    def __init__(self, settings: Settings, weights_sha256: str, stop: Stop) -> None:
        self.first = Worker(settings, weights_sha256)
        self._settings, self._weights_sha256, self._stop = settings, weights_sha256, stop
        self._changed = threading.Condition()
        self._queue: deque[_Hand] = deque()
        self._hands: list[_Hand] = []
        self._done: list[Document] = []
        self._error: BaseException | None = None
        self._workers = [self.first]
        # Kept until all is done: a child is killed when the thread ends that started it (prctl(2), PR_SET_PDEATHSIG).
        self._threads = ThreadPoolExecutor(thread_name_prefix="worker", max_workers=settings.threads)

    def detect(
        self,
        videos: Sequence[tuple[Video, VideoProgress]],
        processes: int,
        before: Callable[[Video], bool],
        after: Callable[[VideoProgress, Document], None],
    ) -> list[Document]:
        """Process videos and return their summaries, in no order. Raises DetectorError and Interrupted.

        `before` is called for each video, and where it says no the video is passed over; `after` is called for each
        that was processed, never twice at once.
        """
        self._queue.extend(_Hand(video, progress) for video, progress in videos)
        precision = self.first.precision
        more = [Worker(self._settings, self._weights_sha256, precision) for _ in range(processes - 1)]
        self._workers += more
        self._in_threads(lambda worker: self._work(worker, before, after))
        return self._done

    def share_out(
        self, things: Sequence[Thing], carry_out: Callable[[Worker, Thing, Callable[[], None]], None]
    ) -> None:
        """Let each process carry the next one out as it gets free, with a check to be called all the while.

        Raises DetectorError and Interrupted.
        """
        left = deque(things)

        def check() -> None:
            self._stop.check()
            if self._error is not None:
                raise _Halted

        def work(worker: Worker) -> None:
            while self._error is None:
                try:
                    thing = left.popleft()
                except IndexError:
                    return
                carry_out(worker, thing, check)

        self._in_threads(work)

    def _in_threads(self, work: Callable[[Worker], None]) -> None:
        """Do the work with each process in a thread; the first error of any ends them all and is raised."""

        def guarded(worker: Worker) -> None:
            try:
                work(worker)
            except BaseException as error:  # noqa: BLE001 - raised again where all threads are waited for
                self._fail(error)

        waited = [self._threads.submit(guarded, worker) for worker in self._workers]
        try:
            while wait(waited, LOOK_S).not_done:
                self._stop.check()
        except BaseException as error:
            self._fail(error)
            wait(waited)
            raise
        if self._error is not None:
            raise self._error

    def leave(self) -> None:
        """End all processes; no longer than a little is waited for them."""
        for worker in self._workers:
            worker.ask_to_end()
        deadline = time.monotonic() + LEAVE_S
        for worker in self._workers:
            worker.leave(max(0.0, deadline - time.monotonic()))
        self._threads.shutdown()

    # --- in the threads

    def _work(
        self, worker: Worker, before: Callable[[Video], bool], after: Callable[[VideoProgress, Document], None]
    ) -> None:
        while (job := self._next(worker)) is not None:
            hand, lane, task = job
            if isinstance(task, Task) and task.first == 0 and task.fault is None and not before(hand.video):
                with self._changed:
                    hand.lanes.remove(lane)
                    hand.ended = True
                    self._hands.remove(hand)
                    self._changed.notify_all()
                continue
            self._carry_out(hand, lane, task, after)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._error is None and not isinstance(error, _Halted):
                self._error = error
            self._changed.notify_all()

    def _next(self, worker: Worker) -> tuple[_Hand, _Lane, Task | Join] | None:
        """What a process does next; None: nothing is left."""
        with self._changed:
            while self._error is None:
                found = self._waiting() or self._from_queue() or self._shared()
                if found is not None:
                    hand, first, end, task = found
                    lane = _Lane(worker, first, end)
                    worker.beat.set(0)
                    worker.beat.set_progress(first, 0, 0, 0)
                    worker.beat.set_end(end)
                    hand.lanes.append(lane)
                    return hand, lane, task
                if not self._hands and not self._queue:
                    return None
                self._changed.wait(LOOK_S)
        return None

    def _waiting(self) -> tuple[_Hand, int, int | None, Task | Join] | None:
        for hand in self._hands:
            if hand.waiting is not None and not hand.lanes:
                task, hand.waiting, hand.ended = hand.waiting, None, False
                return hand, 0, None, task
        return None

    def _from_queue(self) -> tuple[_Hand, int, int | None, Task | Join] | None:
        if not self._queue:
            return None
        hand = self._queue.popleft()
        self._hands.append(hand)
        return hand, 0, None, Task(hand.video)

    def _shared(self) -> tuple[_Hand, int, int | None, Task | Join] | None:
        """The later half of the longest stretch that a process has before it."""
        best: tuple[int, int, int | None, _Hand, _Lane] | None = None
        length = segments.LENGTH * self._settings.stride
        for hand in self._hands:
            if hand.ended or hand.alone:
                continue
            for lane in hand.lanes:
                segment, frames, _, expected = lane.worker.beat.progress()
                if not frames or not expected:
                    continue
                # What is done already is read without a word: the reading may be far ahead of what was inferred last.
                segment = max(segment, lane.worker.beat.get()[1] // length)
                end = -(-expected // length) if lane.end is None else lane.end
                taken = (end - segment - 1) // 2
                if taken < LEAST_SHARED or (end - taken) > MOST_READ * taken:
                    continue
                if best is None or taken > best[0]:
                    best = taken, end - taken, lane.end, hand, lane
        if best is None:
            return None
        _, first, end_of_both, hand, lane = best
        lane.end = first
        lane.worker.beat.set_end(first)
        return hand, first, end_of_both, Task(hand.video, first)

    def _carry_out(
        self, hand: _Hand, lane: _Lane, task: Task | Join, after: Callable[[VideoProgress, Document], None]
    ) -> None:
        def check() -> None:
            self._stop.check()
            if self._error is not None or hand.ended:
                raise _Halted
            self._tick(hand)

        answer: object = None
        try:
            answer = lane.worker.ask(task, check)
        except Died as died:
            self._rescue(hand, lane, task, died)
        except _Halted:
            lane.worker.leave(patience_s=0)
            if self._error is not None:
                raise
        except DetectorError:
            if not hand.ended:  # else its folder is gone with the video that another one finished
                raise
        with self._changed:
            hand.lanes.remove(lane)
            _, frames, detections, _ = lane.worker.beat.progress()
            hand.frames += frames
            hand.detections += detections
            if isinstance(answer, Done):
                hand.ended = True
                self._hands.remove(hand)
                self._done.append(answer.summary)
                after(hand.progress, answer.summary)
            elif isinstance(answer, Read) and not hand.ended:
                hand.waiting = Join(hand.video, answer.reading)
            elif not hand.lanes and hand.waiting is None and hand in self._hands:
                hand.waiting = Task(hand.video)  # no process reached its end: begin again with what is kept
            self._changed.notify_all()

    def _rescue(self, hand: _Hand, lane: _Lane, task: Task | Join, died: Died) -> None:
        with self._changed:
            hand.waiting = lane.worker.rescue(task, died, died.kind)
            hand.ended = hand.alone = True
            hand.frames = hand.detections = 0

    def _tick(self, hand: _Hand) -> None:
        with self._changed:
            at = [lane.worker.beat.progress() for lane in hand.lanes]
            hand.progress.frames_expected = max((expected for *_, expected in at), default=0) or None
            frames = hand.frames + sum(one[1] for one in at)
            if frames:
                hand.progress.tick(frames, hand.detections + sum(one[2] for one in at))


@contextmanager
def working(settings: Settings, weights_sha256: str, stop: Stop) -> Iterator[Pool]:
    """A pool whose first process has the model loaded. Raises DetectorError where it cannot be, and Interrupted."""
    pool = Pool(settings, weights_sha256, stop)
    try:
        pool.first.start(stop.check)
        yield pool
    finally:
        pool.leave()
