"""The process that makes a run's events and clips, apart from the one that keeps the run: a decoder may crash in it.

Started by `events_worker.py`: `python -m shoal_detect.events_child CONNECTION`, a descriptor.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from shoal_detect.child import PR_SET_PDEATHSIG
from shoal_detect.errors import DetectorError, Interrupted
from shoal_detect.messages import Alive, Failed, MakeEvents, MakingClip
from shoal_detect.stop import Stop

SIGN_S = 1.0


def main(arguments: list[str]) -> None:
    """Do what the first message asks for, and end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    connection = Connection(int(arguments[0]))
    stop = Stop()
    stop.install()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent has gone
        try:
            _make(connection, stop)
            connection.send(None)
        except DetectorError as error:
            connection.send(Failed(error.message, int(error.exit_code)))
        except Interrupted as interrupted:
            connection.send(Failed(signal_number=interrupted.signal_number))


def _make(connection: Connection, stop: Stop) -> None:
    task: MakeEvents = connection.recv()
    # Late, as in `child`.
    from shoal_detect.events.look import Looker, covered_classes, model_for_looking  # noqa: PLC0415
    from shoal_detect.events.stage import Stage, make_events  # noqa: PLC0415
    from shoal_detect.model.infer import load_model  # noqa: PLC0415
    from shoal_detect.model.weights import read_weights  # noqa: PLC0415

    settings = task.settings
    class_ids = covered_classes(settings.privacy)

    def looker() -> Looker | None:
        if not class_ids:
            return None
        data, _ = read_weights(settings.weights, task.weights_sha256)
        model, size = model_for_looking(
            lambda size: load_model(data, size=size, precision=task.precision), settings.img
        )
        return Looker(model, size, class_ids)

    stage = Stage(
        state=settings.state,
        rules=task.rules,
        privacy=settings.privacy,
        clips=settings.clips,
        looker=looker,
        # Where looks were reused, not every frame was looked at.
        seen_at=settings.img if settings.stride == 1 and not settings.reuse else None,
        videos={video.video_id: video for video in task.videos},
        alive=_signs(connection, stop),
        begun=lambda event_id, text: connection.send(MakingClip(event_id, text)),
        given_up=task.given_up,
    )
    make_events(stage, task.summaries)


def _signs(connection: Connection, stop: Stop) -> Callable[[], None]:
    """Says about once a second that work goes on, and ends it on request."""
    last_s = time.monotonic()

    def alive() -> None:
        nonlocal last_s
        stop.check()
        if time.monotonic() - last_s >= SIGN_S:
            last_s = time.monotonic()
            connection.send(Alive())

    return alive


if __name__ == "__main__":
    main(sys.argv[1:])
