"""Shares a run's clips out among its processes, once its videos are done; who makes which changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from shoal_detect.errors import DetectorError, Exit
from shoal_detect.events.rules import Rules
from shoal_detect.messages import EventFound, FindEvents, FoundEvents, MakeClip, WriteEvents
from shoal_detect.pool import Pool
from shoal_detect.progress import quoted, say
from shoal_detect.read.videos import Video
from shoal_detect.state.store import Document
from shoal_detect.stop import Stop
from shoal_detect.worker import Died, Worker

REPORT_S = 20.0
"""A clip takes a slow machine minutes, and who watches the run wants to know that it goes on."""


def make_events(
    pool: Pool, rules: Rules, videos: Sequence[Video], summaries: Sequence[Document], stop: Stop, *, clips: bool
) -> Mapping[str, Sequence[str]]:
    """Write the run's `events.jsonl` and `clips`; return the videos by camera. Raises DetectorError and Interrupted."""
    by_id = {video.video_id: video for video in videos}
    found = _found(pool.first, FindEvents(rules, videos, summaries), stop)

    def carry_out(worker: Worker, event: EventFound, check: Callable[[], None]) -> None:
        if clips:
            say(f"events: making the clip of {quoted(event.text)}")
        _make_clip(worker, MakeClip(rules, _needed(event, by_id), event), _reporting(event, check))

    pool.share_out(found.events, carry_out)
    try:
        names = [one["video_id"] for one in summaries]
        pool.first.ask(WriteEvents([event.event_id for event in found.events], names), stop.check)
    except Died as died:
        raise DetectorError(f"the events cannot be written: {died}", Exit.STATE) from None
    return found.cameras


def _found(worker: Worker, question: FindEvents, stop: Stop) -> FoundEvents:
    try:
        answer = worker.ask(question, stop.check)
    except Died as died:
        raise DetectorError(f"the events cannot be found: {died}", Exit.STATE) from None
    if isinstance(answer, FoundEvents):
        return answer
    raise RuntimeError(f"the process that works on videos answered {answer!r}")


def _needed(event: EventFound, videos: Mapping[str, Video]) -> list[Video]:
    return [videos[name] for name in event.video_ids if name in videos]


def _make_clip(worker: Worker, question: MakeClip, check: Callable[[], None]) -> None:
    try:
        worker.ask(question, check)
    except Died as died:
        # A decoder that crashes or hangs costs its clip, not the run.
        say(f"the clip of {quoted(question.event.text)} is given up: {died}; going on with a new process")
        worker.ask(MakeClip(question.rules, question.videos, question.event, str(died)), check)


def _reporting(event: EventFound, check: Callable[[], None]) -> Callable[[], None]:
    """Check, and say now and then that the clip is still in hand."""
    reported = time.monotonic()

    def checked() -> None:
        nonlocal reported
        check()
        if time.monotonic() - reported > REPORT_S:
            reported = time.monotonic()
            say(f"events: still at the clip of {quoted(event.text)}")

    return checked
