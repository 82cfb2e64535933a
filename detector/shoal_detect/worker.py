"""Keeps a process that works on videos: a decoder that crashes or hangs ends with its video, not with the run.

The process that keeps the run (lock, order, manifest) loads neither FFmpeg nor the model. It starts the other one
(`child.py`), hands over one video at a time, and looks on.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from shoal_detect.errors import DetectorError, Exit, Interrupted
from shoal_detect.messages import Beat, Begin, Done, Failed, Task, Tried, Try
from shoal_detect.model.precision import AUTO, Choice, Precision
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


class _Died(Exception):  # noqa: N818 - an outcome of a video
    """The child is gone in the middle of a video; says why, and in which word."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Worker:
    """The child, started anew where it died. Made by `working`."""

    def __init__(self, settings: Settings, weights_sha256: str, stop: Stop) -> None:
        self._begin = Begin(settings, weights_sha256, Precision.FLOAT32)
        self._stop = stop
        self._beat = Beat.made()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def start(self) -> None:
        """Start a child and wait for its model. Raises DetectorError where it cannot be loaded, and Interrupted."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._connection = Connection(ours.detach())
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "shoal_detect.child", str(theirs.fileno()), str(self._beat.handle)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._beat.handle),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        try:
            self._ask(self._begin)
        except _Died as died:
            raise DetectorError(f"the model cannot be loaded: {died}", Exit.WEIGHTS) from None

    @property
    def precision(self) -> Precision:
        """In which the model computes."""
        return self._begin.precision

    def choose(self, videos: Sequence[Video]) -> Choice:
        """The precision for a new run over these videos. Raises DetectorError and Interrupted."""
        asked = self._begin.settings.precision
        if asked != AUTO:
            return Choice(Precision(asked), "asked for")
        try:
            answer = self._ask(Try(videos))
        except _Died as died:
            # The run meets the same file, and names it.
            self.start()
            return Choice(Precision.FLOAT32, f"the trial came to nothing: {died}")
        if isinstance(answer, Tried):
            return answer.choice
        raise RuntimeError(f"the process that works on videos answered {answer!r}")

    def use(self, precision: Precision) -> None:
        """Work in this precision from now on. Raises DetectorError and Interrupted."""
        if precision is self._begin.precision:
            return
        self.leave()
        self._begin = replace(self._begin, precision=precision)
        self.start()

    def detect(self, video: Video, progress: VideoProgress) -> Document:
        """Process a video and return its summary. Raises DetectorError and Interrupted."""
        task = Task(video, progress)
        while True:
            self._beat.set(0)
            try:
                answer = self._ask(task)
            except _Died as died:
                # What came before the frame in hand is read once more; if it dies again, nothing.
                frames = max(0, self._beat.get()[1] - 1) if task.fault is None else 0
                fault = Fault(died.kind, f"{died}; {frames} frames before are kept")
            else:
                if isinstance(answer, Done):
                    return answer.summary
                raise RuntimeError(f"the process that works on videos answered {answer!r}")
            task = Task(video, progress, frames, fault)
            say(f"{quoted(video.name)}: {fault.message}; going on with a new process")
            store.remove_leftovers(self._begin.settings.state)
            self.start()

    def _ask(self, question: Begin | Task | Try) -> object:
        """What the child answers. Raises _Died, DetectorError and Interrupted."""
        process, connection = self._process, self._connection
        if process is None or connection is None:
            raise RuntimeError("the worker was not started")
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: told below
            connection.send(question)
        signs, changed = self._beat.get()[0], time.monotonic()
        while not multiprocessing.connection.wait([connection], LOOK_S):
            self._stop.check()
            now = self._beat.get()[0]
            if now != signs:
                signs, changed = now, time.monotonic()
            elif time.monotonic() - changed > STUCK_S:
                process.kill()
                process.wait()
                raise _Died(Kind.DECODER_STUCK, f"nothing came of it for {STUCK_S:.0f} s, and the decoder was ended")
        with suppress(EOFError, ConnectionResetError):
            answer = connection.recv()
            if isinstance(answer, Failed):
                raise answer.error()
            return answer
        code = process.wait()
        self._stop.check()
        raise _ended(code)

    def leave(self) -> None:
        """End the child; no longer than a little is waited for it."""
        if self._connection is not None:
            self._connection.close()
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # in the hands of the kernel, which waits for a disk
                self._process.wait(LOOK_S)


def _ended(code: int) -> Exception:
    if code >= 0:
        return RuntimeError(f"the process that works on videos ended with exit code {code}; see the lines above")
    number = signal.Signals(-code)
    if number in CRASHES:
        return _Died(Kind.DECODER_CRASHED, f"the decoder died of it ({number.name})")
    # Killed from outside: most often the kernel, for want of memory. The run ends with it, and can go on.
    return Interrupted(number)


@contextmanager
def working(settings: Settings, weights_sha256: str, stop: Stop) -> Iterator[Worker]:
    """A worker with the model loaded. Raises DetectorError where it cannot be, and Interrupted."""
    worker = Worker(settings, weights_sha256, stop)
    try:
        worker.start()
        yield worker
    finally:
        worker.leave()
