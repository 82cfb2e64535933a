"""Keeps the process that makes events and clips: a decoder that crashes or hangs costs its clip, not the run."""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from shoal_detect.errors import DetectorError, Exit, Interrupted
from shoal_detect.messages import Failed, MakeEvents, MakingClip
from shoal_detect.progress import quoted, say
from shoal_detect.stop import Stop
from shoal_detect.worker import CRASHES, LOOK_S, STUCK_S, end

TELL_S = 20.0
"""A clip takes a slow machine minutes, and who watches the run wants to know that it goes on."""


def make_events(task: MakeEvents, stop: Stop) -> None:
    """Write the run's `events.jsonl` and clips. Raises DetectorError and Interrupted."""
    while True:
        clip, why = _attempt(task, stop)
        if why is None:
            return
        if clip is None:
            raise DetectorError(f"the events cannot be made: {why}", Exit.STATE)
        say(f"the clip of {quoted(clip.text)} is given up: {why}; going on with a new process")
        task = replace(task, given_up={**task.given_up, clip.event_id: why})


def _attempt(task: MakeEvents, stop: Stop) -> tuple[MakingClip | None, str | None]:
    """Run a child to its end: the clip that it had in hand, and why it ended before its work was done, if so."""
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours.detach())
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "shoal_detect.events_child", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: reported below
            connection.send(task)
        return _watched(connection, process, stop)
    finally:
        connection.close()
        end(process)


def _watched(
    connection: Connection, process: subprocess.Popen[bytes], stop: Stop
) -> tuple[MakingClip | None, str | None]:
    clip: MakingClip | None = None
    heard = reported = time.monotonic()
    while True:
        while not multiprocessing.connection.wait([connection], LOOK_S):
            stop.check()
            if time.monotonic() - heard > STUCK_S:
                process.kill()
                return clip, f"nothing came of it for {STUCK_S:.0f} s"
        try:
            message = connection.recv()
        except (EOFError, ConnectionResetError):
            break
        heard = time.monotonic()
        if message is None:
            return clip, None
        if isinstance(message, Failed):
            raise message.error()
        if isinstance(message, MakingClip):
            clip, reported = message, time.monotonic()
            say(f"events: making the clip of {quoted(clip.text)}")
        elif clip is not None and time.monotonic() - reported > TELL_S:
            reported = time.monotonic()
            say(f"events: still at the clip of {quoted(clip.text)}")
    code = process.wait()
    stop.check()
    if code >= 0:
        raise RuntimeError(f"the process that makes events ended with exit code {code}; see the lines above")
    number = signal.Signals(-code)
    if number not in CRASHES:
        # Killed from outside: most often the kernel, for want of memory. The run ends with it, and can go on.
        raise Interrupted(number)
    return clip, f"the decoder died of it ({number.name})"
