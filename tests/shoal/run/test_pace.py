"""The time that nodes have left, the straggler among them, and silence."""

from __future__ import annotations

import json

import pytest

from shoal.run.detector_lines import Line, read
from shoal.run.pace import Pace, in_words, straggler


def run(videos: int, *, done: int = 0) -> Line:
    sizes = {"size_bytes": 100 * videos, "done_size_bytes": 100 * done}
    event = {"event": "run", "run": "r1", "videos": videos, "videos_done": done, **sizes}
    return read(json.dumps({"shoal_detect": 1, **event}))


def done(number: int, videos: int) -> Line:
    video = {"number": number, "videos": videos, "video": f"{number}.mp4", "size_bytes": 100}
    event = {"event": "video_done", **video, "frames": 10, "detections": 1, "decode_errors": 0}
    return read(json.dumps({"shoal_detect": 1, **event}))


def at(share: int, of: int, took_s: float) -> Pace:
    """A node that has done `share` of `of` videos in `took_s` seconds, from 100 on."""
    pace = Pace()
    pace.take(run(of), 100)
    for number in range(1, share + 1):
        pace.take(done(number, of), 100 + took_s * number / share)
    return pace


def test_the_time_left_is_at_the_pace_so_far() -> None:
    assert at(1, 4, 10).left_s(110) == pytest.approx(30)
    assert at(3, 4, 30).left_s(130) == pytest.approx(10)


def test_what_an_earlier_attempt_did_took_no_time() -> None:
    pace = Pace()
    pace.take(run(10, done=8), 100)
    pace.take(done(9, 10), 120)
    assert pace.left_s(120) == pytest.approx(20)
    # The next attempt begins anew.
    pace.take(run(10, done=9), 500)
    assert pace.left_s(504) is None
    pace.take(done(10, 10), 510)
    assert pace.left_s(510) == 0


def test_nothing_is_said_before_there_is_anything_to_reckon_with() -> None:
    assert Pace().left_s(1000) is None
    assert at(1, 4, 2).left_s(102) is None  # too short a time
    assert at(0, 4, 60).left_s(160) is None  # nothing done


@pytest.mark.parametrize(
    ("paces", "expected"),
    [
        ({"a": at(3, 4, 30), "b": at(3, 22, 30)}, "b"),
        ({"a": at(10, 20, 30), "b": at(9, 20, 30)}, None),  # by no good margin
        ({"a": at(3, 4, 30), "b": at(0, 22, 30)}, None),  # of b nothing can be said yet
        ({"a": at(3, 22, 30)}, None),  # alone
    ],
)
def test_the_straggler_is_the_one_that_the_others_will_wait_for(paces: dict[str, Pace], expected: str | None) -> None:
    assert straggler(paces, 130) == expected


def test_the_last_one_at_work_is_the_straggler() -> None:
    paces = {"a": at(4, 4, 30), "b": at(3, 22, 30)}
    paces["a"].over = True
    assert straggler(paces, 130) == "b"
    paces["b"].over = True
    assert straggler(paces, 130) is None


def test_silence() -> None:
    pace = at(1, 4, 10)
    assert pace.silent_s(139) is None
    assert pace.silent_s(150) == 40
    pace.take(done(2, 4), 151)
    assert pace.silent_s(152) is None
    pace.over = True
    assert pace.silent_s(1000) is None


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (720, "12 min"), (12_000, "3 h 20 min")],
)
def test_times_in_words(duration_s: float, words: str) -> None:
    assert in_words(duration_s) == words
