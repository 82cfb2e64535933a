"""The ledger's old lines are let go of, and counted once whenever the power goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from shoal_detect.state import lines, store
from shoal_detect.watch.ledger import FORGET_S, Ledger

GONE, KEPT, FRESH = "cameras/north/1.mp4", "cameras/north/2.mp4", "cameras/north/3.mp4"


class PowerOffError(Exception):
    """Nothing is written from here on."""


def line(segment: str, age_s: float) -> dict[str, Any]:
    at_s = time.time() - age_s
    return {"segment": segment, "at_s": at_s, "frames": 10, "seconds": 1.0, "fault": None, "events": ["one"]}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Of three files: one old that is gone, one old that is there, one that was looked at just now and is gone."""
    made = Ledger(tmp_path / "state", str(tmp_path), "north")
    made.load()
    for segment, age_s in ((GONE, FORGET_S + 60), (KEPT, FORGET_S + 60), (FRESH, 60)):
        made.add(line(segment, age_s))
    (tmp_path / KEPT).parent.mkdir(parents=True)
    (tmp_path / KEPT).touch()
    return made


def loaded(ledger: Ledger) -> Ledger:
    anew = Ledger(ledger.state, ledger.root, ledger.camera)
    anew.load()
    return anew


def test_old_lines_of_files_that_are_gone_go_and_stay_counted(ledger: Ledger) -> None:
    for _ in range(3):
        now = loaded(ledger)
        assert now.counts == {"segments": 3, "frames": 30, "seconds": 3.0, "faulty": 0, "gone": 0, "events": 3}
        assert now.known == {KEPT, FRESH}
        assert [one["segment"] for one in lines.read(now.path)] == [KEPT, FRESH]


@pytest.mark.parametrize("writes", [0, 1])
def test_what_a_power_cut_left_is_counted_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    write, done = store.write_file, list[Path]()

    def until_the_power_goes(path: Path, data: bytes) -> None:
        if len(done) == writes:
            raise PowerOffError
        done.append(path)
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_file", until_the_power_goes)
        with pytest.raises(PowerOffError):
            loaded(ledger)
    assert loaded(ledger).counts["segments"] == 3
    assert loaded(ledger).counts["segments"] == 3
