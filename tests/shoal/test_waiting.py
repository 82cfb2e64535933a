"""Looking again until something holds: deadlines, cancels, renewals."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import shoal
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


def test_nobody_sleeps_or_locks_but_here() -> None:
    """One module waits and one locks. (A program that goes into a job's container has nothing of shoal's beside it.)"""
    package = Path(shoal.__file__).parent
    own = {package / "waiting.py", package / "locks.py", *(package / "jobs" / "programs").glob("*.py")}
    own.add(package / "deploys" / "lock.py")  # a lease on hosts, which keeps its own time
    found = [
        f"{path.relative_to(package)}: {word}"
        for path in sorted(package.rglob("*.py"))
        if path not in own
        for word in ("time.sleep(", "fcntl.flock(", "fcntl.lockf(")
        if word in path.read_text(encoding="utf-8")
    ]
    assert found == []
