"""Keeps one process that works on videos: a decoder that crashes or hangs ends with its video, not with the run.

The process that keeps the run (lock, order, manifest) decodes nothing and has no model. It starts the others
(`child.py`, as many as `pool.py` asks for), hands each one task at a time, and looks on.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from shoal_detect import memory
from shoal_detect.errors import DetectorError, Exit, Interrupted, OutOfMemory
from shoal_detect.memory import LARGEST, Picture
from shoal_detect.messages import Beat, Begin, Failed, Join, Question, Survey, Surveyed, Task, Tried, Try
from shoal_detect.model.precision import AUTO, Choice, Precision
from shoal_detect.progress import quoted, say
from shoal_detect.read.faults import Fault, Kind
from shoal_detect.read.videos import Video
from shoal_detect.state.settings import Settings

LOOK_S = 0.2
"""How often the parent looks for a signal while the child works."""
STUCK_S = 120.0
"""A child that shows no sign of life for so long is ended: the largest picture takes a slow machine a few seconds."""
LEAVE_S = 1.2
"""How long a child that was asked to end may take; a segment in hand is begun again anyway."""
CRASHES = frozenset(
    [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS]
)


class Died(Exception):  # noqa: N818 - an outcome of a video
    """The child is gone in the middle of a video; says why, and in which word."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Worker:
    """A child, started when it is needed, and anew where it died."""

    def __init__(self, settings: Settings, weights_sha256: str, precision: Precision = Precision.FLOAT32) -> None:
        self._begin = Begin(settings, weights_sha256, precision)
        self.beat = Beat.made()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def start(self, check: Callable[[], None]) -> None:
        """Start a child and wait for its model. Raises DetectorError where it cannot be loaded, and Interrupted."""
        self._process, self._connection = begun("shoal_detect.child", self.beat.handle)
        try:
            self._answer(self._begin, check)
        except Died as died:
            raise DetectorError(f"the model cannot be loaded: {died}", Exit.WEIGHTS) from None

    def choose(self, videos: Sequence[Video], check: Callable[[], None]) -> Choice:
        """The precision for a new run over these videos. Raises DetectorError and Interrupted."""
        asked = self._begin.settings.precision
        if asked != AUTO:
            return Choice(Precision(asked), "asked for")
        try:
            answer = self.ask(Try(videos), check)
        except Died as died:
            # The run meets the same file, and names it.
            return Choice(Precision.FLOAT32, f"the trial came to nothing: {died}")
        if isinstance(answer, Tried):
            return answer.choice
        raise RuntimeError(f"the process that works on videos answered {answer!r}")

    def largest_picture(self, videos: Sequence[Video], check: Callable[[], None]) -> Picture:
        """What no picture of these videos exceeds, by their headers. Raises DetectorError and Interrupted."""
        try:
            answer = self.ask(Survey(videos), check)
        except Died:
            return LARGEST  # the run meets the same file, and names it
        if isinstance(answer, Surveyed):
            return answer.picture
        raise RuntimeError(f"the process that works on videos answered {answer!r}")

    @property
    def precision(self) -> Precision:
        """In which the model computes."""
        return self._begin.precision

    def use(self, precision: Precision) -> None:
        """Work in this precision from now on."""
        if precision is not self._begin.precision:
            self.leave()
            self._begin = replace(self._begin, precision=precision)

    def ask(self, question: Question, check: Callable[[], None]) -> object:
        """What the child answers; `check` is called all the while, and what it raises is raised.

        Raises Died, DetectorError and Interrupted.
        """
        if self._process is None:
            self.start(check)
        return self._answer(question, check)

    def _answer(self, question: Begin | Question, check: Callable[[], None]) -> object:
        process, connection = self._process, self._connection
        if process is None or connection is None:
            raise RuntimeError("the worker was not started")
        killed = memory.killed()
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: reported below
            connection.send(question)
        signs, changed = self.beat.get()[0], time.monotonic()
        while not multiprocessing.connection.wait([connection], LOOK_S):
            check()
            now = self.beat.get()[0]
            if now != signs:
                signs, changed = now, time.monotonic()
            elif time.monotonic() - changed > STUCK_S:
                self.leave(patience_s=0)
                raise Died(Kind.DECODER_STUCK, f"nothing came of it for {STUCK_S:.0f} s, and the decoder was ended")
        with suppress(EOFError, ConnectionResetError):
            answer = connection.recv()
            if isinstance(answer, Failed):
                raise answer.error()
            return answer
        code = process.wait()
        self.leave()
        check()
        raise why_ended(code, killed)

    def rescue(self, question: Task | Join, why: Exception, kind: Kind) -> Task:
        """What is asked after the child died of a video: what came before the frame in hand is read once more; if it
        dies again, nothing."""
        task = question if isinstance(question, Task) else None
        frames = max(0, self.beat.get()[1] - 1) if task and task.fault is None else 0
        fault = Fault(kind, f"{why}; {frames} frames before are kept")
        say(f"{quoted(question.video.name)}: {fault.message}; going on with a new process")
        return Task(question.video, 0, frames, fault, task.stride if task else None)

    def ask_to_end(self) -> None:
        """Begin to end the child."""
        if self._process is not None:
            self._process.terminate()

    def leave(self, patience_s: float = LEAVE_S) -> None:
        """End the child, if there is one; no longer than a little is waited for it."""
        process, self._process = self._process, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if process is not None:
            end(process, patience_s)


def begun(module: str, *handles: int) -> tuple[subprocess.Popen[bytes], Connection]:
    """A child that runs a module, and the way to it; its arguments are descriptors, that of its connection first."""
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours.detach())
        given = (theirs.fileno(), *handles)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *map(str, given)],
            stdin=subprocess.DEVNULL,
            pass_fds=given,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    return process, connection


def end(process: subprocess.Popen[bytes], patience_s: float = LEAVE_S) -> None:
    """Ask a child to end, and kill it where it does not in time."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # in the hands of the kernel, which waits for a disk
            process.wait(LOOK_S)


def why_ended(code: int, killed: int, doing: str = "works on videos") -> Exception:
    """What it means that a child ended without an answer; `doing` is what its process does.

    `killed` is `memory.killed()` as it was when the child was asked.
    """
    if code >= 0:
        return RuntimeError(f"the process that {doing} ended with exit code {code}; see the lines above")
    number = signal.Signals(-code)
    if number in CRASHES:
        return Died(Kind.DECODER_CRASHED, f"the decoder died of it ({number.name})")
    # Killed from outside: most often the kernel, for want of memory. The run ends with it, and can go on.
    if number == signal.SIGKILL and memory.killed() > killed:
        return OutOfMemory(number)
    return Interrupted(number)
