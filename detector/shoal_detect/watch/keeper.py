"""Keeps a process that makes the watch's events or clips: a decoder that crashes costs a clip, not the watch."""

from __future__ import annotations

import multiprocessing.connection
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from shoal_detect import memory
from shoal_detect.errors import DetectorError, Exit, OutOfMemory
from shoal_detect.messages import Failed
from shoal_detect.progress import quoted, say
from shoal_detect.watch.messages import Alive, BeginEvents, ClipDone, ForgetEarly, MakeClip, Take, Taken
from shoal_detect.worker import LEAVE_S, LOOK_S, STUCK_S, Died, begun, end, why_ended


class EventsKeeper:
    """The process, started when it is needed, and anew where it died."""

    def __init__(self, begin: BeginEvents) -> None:
        self._begin = begin
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def take(self, task: Take, check: Callable[[], None]) -> Taken:
        """Have a file taken. Raises DetectorError, Interrupted and what `check` raises."""
        while True:
            answer = self._asked(task, check)
            if isinstance(answer, Taken):
                return answer
            if task.blind:
                raise DetectorError(f"the events of {task.segment} cannot be made: {answer}", Exit.STATE)
            say(f"{quoted(task.segment)}: {answer} in a look back; going on with a new process and without looks")
            task = replace(task, blind=True)

    def make_clip(self, task: MakeClip, check: Callable[[], None]) -> None:
        """Have a clip made, or given up. Raises DetectorError, Interrupted and what `check` raises."""
        answer = self._asked(task, check)
        if isinstance(answer, ClipDone):
            return
        say(f"the clip of event {task.event_id} is given up: {answer}; going on with a new process")
        answer = self._asked(replace(task, given_up=str(answer)), check)
        if not isinstance(answer, ClipDone):
            raise DetectorError(f"event {task.event_id} cannot be written: {answer}", Exit.STATE)

    def forget_early(self, camera: str, check: Callable[[], None]) -> None:
        """As `ForgetEarly`."""
        self._asked(ForgetEarly(camera), check)

    def leave(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if process is not None:
            end(process, LEAVE_S)

    def _start(self) -> None:
        self._process, self._connection = begun("shoal_detect.watch.child")
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: reported by what asks it
            self._connection.send(self._begin)

    def _asked(self, task: Take | ForgetEarly | MakeClip, check: Callable[[], None]) -> object:
        """The answer: Taken, ClipDone, None, or why there is none."""
        if self._process is None:
            self._start()
        process, connection = self._process, self._connection
        if process is None or connection is None:
            raise RuntimeError("the process was not started")
        killed = memory.killed()
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: reported below
            connection.send(task)
        heard = time.monotonic()
        while True:
            while not multiprocessing.connection.wait([connection], LOOK_S):
                check()
                if time.monotonic() - heard > STUCK_S:
                    process.kill()
                    self.leave()
                    return f"nothing came of it for {STUCK_S:.0f} s"
            try:
                message = connection.recv()
            except (EOFError, ConnectionResetError):
                break
            heard = time.monotonic()
            if isinstance(message, Failed):
                self.leave()
                raise message.error()
            if not isinstance(message, Alive):
                return message
        code = process.wait()
        self.leave()
        check()
        ended = why_ended(code, killed, "makes events")
        if isinstance(ended, Died | OutOfMemory):
            return str(ended)
        raise ended
