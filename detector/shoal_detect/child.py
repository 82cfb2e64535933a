"""The process that works on videos: loads the model, then processes what it is given until there is no more.

Started by `worker.py`: `python -m shoal_detect.child CONNECTION BEAT`, two descriptors.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from shoal_detect.errors import DetectorError, Interrupted
from shoal_detect.messages import (
    Beat,
    Begin,
    Done,
    Failed,
    Join,
    Left,
    Question,
    Read,
    Ready,
    Survey,
    Surveyed,
    Task,
    Tried,
    Try,
)
from shoal_detect.stop import Stop

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that is sent when the parent ends. No process writes into a run's folder without its lock."""


def main(arguments: list[str]) -> None:
    """Serve until the connection is closed."""
    beat = Beat.on(int(arguments[1]))
    serving(int(arguments[0]), lambda connection, stop: _serve(connection, beat, stop))


def serving(handle: int, serve: Callable[[Connection, Stop], None]) -> None:
    """Serve a connection as a child of this process's parent: it ends with the parent, on a signal, and where nothing
    more comes. A DetectorError or Interrupted is handed on as Failed.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    connection = Connection(handle)
    stop = Stop()
    stop.install()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nothing more comes, or the parent has gone
        try:
            serve(connection, stop)
        except DetectorError as error:
            connection.send(Failed(error.message, int(error.exit_code)))
        except Interrupted as interrupted:
            connection.send(Failed(signal_number=interrupted.signal_number))


def _serve(connection: Connection, beat: Beat, stop: Stop) -> None:
    begin: Begin = connection.recv()
    # Late: loading FFmpeg and onnxruntime takes a while, and a signal would have gone unanswered.
    from shoal_detect.events_child import EventsOf  # noqa: PLC0415
    from shoal_detect.model.infer import load_model  # noqa: PLC0415
    from shoal_detect.model.weights import read_weights  # noqa: PLC0415
    from shoal_detect.pipeline import Progressed, Rescue, Work, detect_video, finish, is_whole  # noqa: PLC0415
    from shoal_detect.read.decode import Reading  # noqa: PLC0415
    from shoal_detect.read.survey import largest_picture  # noqa: PLC0415
    from shoal_detect.trial import tried  # noqa: PLC0415

    settings = begin.settings
    data, _ = read_weights(settings.weights, begin.weights_sha256)
    model = load_model(data, size=settings.img, precision=begin.precision)

    def progressed(now: Progressed) -> None:
        beat.set_progress(now.segment, now.frames, now.detections, now.frames_expected or 0)

    def alive() -> None:
        stop.check()
        beat.set(0)

    work = Work(settings, model, stop, beat.set, progressed, beat.end)
    events = EventsOf(
        settings, work.model, lambda size: load_model(data, size=size, precision=begin.precision), beat, stop
    )
    connection.send(Ready())
    while True:
        task: Question = connection.recv()
        if isinstance(task, Try):
            connection.send(Tried(tried(data, task.videos, settings, stop, beat.set)))
            continue
        if isinstance(task, Survey):
            connection.send(Surveyed(largest_picture(task.videos, alive)))
            continue
        if isinstance(task, Join):
            whole = is_whole(task.video, task.reading, settings)
            connection.send(Done(finish(task.video, task.reading, settings)) if whole else Left())
            continue
        if not isinstance(task, Task):
            connection.send(events.answer(task))
            continue
        rescue = None if task.fault is None else Rescue(task.frames or 0, task.fault)
        asked = work if task.stride is None else replace(work, settings=replace(settings, stride=task.stride))
        outcome = detect_video(task.video, asked, task.first, rescue)
        if outcome is None:
            connection.send(Left())
        elif isinstance(outcome, Reading):
            connection.send(Read(outcome))
        else:
            connection.send(Done(outcome))


if __name__ == "__main__":
    main(sys.argv[1:])
