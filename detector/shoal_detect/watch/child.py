"""A process that makes the watch's events, or their clips; a decoder may crash in it.

Started by `keeper.py`: `python -m shoal_detect.watch.child CONNECTION`, a descriptor.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection

from shoal_detect.child import serving
from shoal_detect.stop import Stop
from shoal_detect.watch.messages import Alive, BeginEvents, ClipDone, ForgetEarly, MakeClip, Take

SIGN_S = 1.0
CLIPS_NICE = 10


def main(arguments: list[str]) -> None:
    """Serve until the connection is closed."""
    serving(int(arguments[0]), _serve)


def _serve(connection: Connection, stop: Stop) -> None:
    begin: BeginEvents = connection.recv()
    # Late, as in `shoal_detect.child`.
    from shoal_detect.events.look import Looker, covered_classes, model_for_looking  # noqa: PLC0415
    from shoal_detect.model.infer import load_model  # noqa: PLC0415
    from shoal_detect.model.weights import read_weights  # noqa: PLC0415
    from shoal_detect.watch.chain import Chain  # noqa: PLC0415

    settings = begin.settings
    class_ids = covered_classes(settings.privacy)

    @cache
    def looker() -> Looker | None:
        if not class_ids:
            return None
        data, _ = read_weights(settings.weights, settings.weights_sha256)
        model, size = model_for_looking(
            lambda size: load_model(data, size=size, precision=begin.precision), settings.img
        )
        return Looker(model, size, class_ids)

    chain = Chain(
        state=settings.state,
        root=settings.input,
        rules=begin.rules,
        privacy=settings.privacy,
        clips=settings.clips,
        looker=looker,
        seen_at=settings.img if begin.every_frame else None,
        alive=_signs(connection, stop),
    )
    while True:
        task: Take | ForgetEarly | MakeClip = connection.recv()
        if isinstance(task, ForgetEarly):
            chain.forget_early(task.camera)
            connection.send(None)
        elif isinstance(task, MakeClip):
            # New footage goes first: a clip may take a minute, and its event is with the outbox already.
            os.nice(max(0, CLIPS_NICE - os.nice(0)))
            chain.make_clip(task.event_id, task.given_up)
            connection.send(ClipDone())
        else:
            connection.send(chain.take(task))


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
