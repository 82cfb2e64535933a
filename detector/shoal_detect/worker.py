"""Processes videos in a child process: a decoder that crashes or hangs ends with its video, not with the run.

The process that keeps the run (lock, order, manifest) loads neither FFmpeg nor the model. It forks the child, hands
over one video at a time, and looks on.
"""

from __future__ import annotations

import mmap
import multiprocessing
import multiprocessing.connection
import os
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from shoal_detect.errors import DetectorError, Exit, Interrupted
from shoal_detect.progress import VideoProgress, quoted, say
from shoal_detect.read.faults import Fault, Kind
from shoal_detect.read.videos import Video
from shoal_detect.state import store
from shoal_detect.state.settings import Settings
from shoal_detect.state.store import Document
from shoal_detect.stop import Stop

LOOK_S = 0.2
"""How often the parent looks for a signal while the child works."""
STUCK_S = 120.0
"""A child that shows no sign of life for so long is ended: the largest picture takes a slow machine a few seconds."""
LEAVE_S = 1.2
"""How long a child that was asked to end may take; a video in hand is begun again anyway."""
CRASHES = frozenset(
    [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS]
)


@dataclass(frozen=True, slots=True)
class _Task:
    video: Video
    progress: VideoProgress
    frames: int | None
    """Read no further; None: to the end."""
    fault: Fault | None
    """The fault that is known already."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """A DetectorError or Interrupted on its way to the parent; they cannot be pickled themselves."""

    message: str
    exit_code: int | None
    signal_number: int | None

    def raised(self) -> DetectorError | Interrupted:
        """The error again."""
        if self.signal_number is not None:
            return Interrupted(self.signal_number)
        return DetectorError(self.message, Exit(self.exit_code or 0))


class _Died(Exception):  # noqa: N818 - an outcome of a video
    """The child is gone in the middle of a video; says why."""


@dataclass(frozen=True, slots=True)
class _Beat:
    """Memory that parent and child share: signs of life, and frames that are read."""

    shared: mmap.mmap

    def set(self, frames: int) -> None:
        """So many frames are read."""
        struct.pack_into("qq", self.shared, 0, self.get()[0] + 1, frames)

    def get(self) -> tuple[int, int]:
        """Signs of life so far, and frames read."""
        signs, frames = struct.unpack_from("qq", self.shared)
        return signs, frames


class Worker:
    """The child, started anew where it died. Made by `working`."""

    threads = 0
    """Of the model."""

    def __init__(self, settings: Settings, weights: bytes, stop: Stop) -> None:
        self._settings, self._weights, self._stop = settings, weights, stop
        self._beat = _Beat(mmap.mmap(-1, mmap.PAGESIZE))
        self._process: ForkProcess | None = None

    def start(self) -> None:
        """Start a child and wait for its model. Raises DetectorError where it cannot be loaded, and Interrupted."""
        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(_Ends(theirs, self._connection), self._settings, self._weights, self._stop, self._beat),
            daemon=True,
        )
        self._process.start()
        theirs.close()
        try:
            self.threads = self._answer()["threads"]
        except _Died as died:
            raise DetectorError(f"the model cannot be loaded: {died}", Exit.WEIGHTS) from None

    def detect(self, video: Video, progress: VideoProgress) -> Document:
        """Process a video and return its summary. Raises DetectorError and Interrupted."""
        task = _Task(video, progress, None, None)
        while True:
            self._beat.set(0)
            self._connection.send(task)
            try:
                return self._answer()
            except _Died as died:
                # What came before the place where it died is read once more; if it dies again, nothing.
                frames = self._beat.get()[1] if task.fault is None else 0
                kind = Kind.DECODER_STUCK if isinstance(died.__cause__, TimeoutError) else Kind.DECODER_CRASHED
                task = _Task(video, progress, frames, Fault(kind, f"{died}; {frames} frames were read before"))
            say(f"{quoted(video.name)}: {task.fault.message if task.fault else ''}; going on with a new process")
            store.remove_leftovers(self._settings.state)
            self.start()

    def _answer(self) -> Document:
        """What the child sends next. Raises _Died, DetectorError and Interrupted."""
        process = self._process
        if process is None:
            raise RuntimeError("the worker was not started")
        signs, changed = self._beat.get()[0], time.monotonic()
        while not multiprocessing.connection.wait([self._connection, process.sentinel], LOOK_S):
            self._stop.check()
            now = self._beat.get()[0]
            if now != signs:
                signs, changed = now, time.monotonic()
            elif time.monotonic() - changed > STUCK_S:
                process.kill()
                process.join()
                raise _Died(f"nothing came of it for {STUCK_S:.0f} s, and the decoder was ended") from TimeoutError()
        with suppress(EOFError, ConnectionResetError):
            if self._connection.poll():
                answer = self._connection.recv()
                if isinstance(answer, _Failed):
                    raise answer.raised()
                return dict(answer)
        process.join()
        self._stop.check()
        return _died(process.exitcode or 0)

    def leave(self) -> None:
        """End the child; no longer than a little is waited for it."""
        if self._process is None:
            return
        self._connection.close()
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(LEAVE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(LEAVE_S)


def _died(exit_code: int) -> Document:
    if exit_code >= 0:
        raise RuntimeError(f"the process that works on videos ended with exit code {exit_code}; see the lines above")
    number = signal.Signals(-exit_code)
    if number in CRASHES:
        raise _Died(f"the decoder died of it ({number.name})")
    # Killed from outside: most often the kernel, for want of memory. The run ends with it, and can go on.
    raise Interrupted(number)


@contextmanager
def working(settings: Settings, weights: bytes, stop: Stop) -> Iterator[Worker]:
    """A worker with the model loaded. Raises DetectorError where it cannot be, and Interrupted."""
    worker = Worker(settings, weights, stop)
    try:
        worker.start()
        yield worker
    finally:
        worker.leave()


class _ChildsStop(Stop):
    """Ends the child's work by a signal of its own, and when its parent is gone."""

    def __init__(self, stop: Stop, parent: int) -> None:
        super().__init__()
        self._inherited, self._parent = stop, parent

    def check(self) -> None:
        """Raise Interrupted if a signal came or nobody waits for the results."""
        self._inherited.check()
        if os.getppid() != self._parent:
            raise Interrupted(signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class _Ends:
    """Both ends of the connection, as a forked child has them."""

    childs: Connection
    parents: Connection


def _serve(ends: _Ends, settings: Settings, weights: bytes, stop: Stop, beat: _Beat) -> None:
    """The child: load the model, then process videos until the parent closes the connection or is gone."""
    ends.parents.close()
    connection = ends.childs
    childs_stop = _ChildsStop(stop, os.getppid())
    try:
        # Late, and here alone: the parent stays small, and has no threads when it forks.
        from shoal_detect.model.infer import load_model  # noqa: PLC0415
        from shoal_detect.pipeline import Rescue, Work, detect_video  # noqa: PLC0415

        model = load_model(weights, size=settings.img, threads=settings.threads)
        work = Work(settings, model, childs_stop, alive=beat.set)
        connection.send({"threads": model.threads})
        while True:
            task: _Task = connection.recv()
            rescue = None if task.fault is None else Rescue(task.frames or 0, task.fault)
            connection.send(detect_video(task.video, work, task.progress, rescue))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has no more videos, or is gone
    except DetectorError as error:
        failed = _Failed(error.message, int(error.exit_code), None)
    except Interrupted as interrupted:
        failed = _Failed("", None, interrupted.signal_number)
    with suppress(OSError):
        connection.send(failed)
