"""Looking again until something holds: deadlines, cancels, renewals."""

from __future__ import annotations

import threading
import time

from shoal.waiting import looks, until


def test_what_holds_at_once_is_not_waited_for() -> None:
    begun = time.monotonic()
    assert until(lambda: "there", every_s=60) == "there"
    assert time.monotonic() - begun < 1


def test_the_first_true_answer_is_given() -> None:
    answers = iter([None, "", "third", "fourth"])
    assert until(lambda: next(answers), every_s=0.01) == "third"


def test_there_is_one_look_at_the_deadline_and_none_after_it() -> None:
    begun = time.monotonic()
    seen = [(look.first, look.last) for look in looks(0.2, timeout_s=0.5)]
    assert time.monotonic() - begun >= 0.5
    assert seen[0] == (True, False)
    assert [last for _, last in seen].count(True) == 1
    assert seen[-1][1]


def test_without_any_time_there_is_exactly_one_look() -> None:
    assert [(look.number, look.last) for look in looks(60, timeout_s=0)] == [(1, True)]


def test_a_cancel_ends_a_pause_at_once() -> None:
    cancelled = threading.Event()
    begun = time.monotonic()
    for look in looks(60, cancelled=cancelled):
        assert look.first
        cancelled.set()
    assert time.monotonic() - begun < 5
    assert until(lambda: True, every_s=1, cancelled=cancelled) is None


def test_what_moves_gets_its_full_time_again() -> None:
    numbers = []
    for look in looks(0.1, timeout_s=0.25):
        numbers.append(look.number)
        if look.number < 6:
            look.renew()
    assert len(numbers) >= 8
