"""Every second of a camera accounted for, by the records of its node."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shoal.paths import NODE_STATE, NODE_WATCH
from shoal.untrusted import DamagedDocumentError
from shoal.watch import account as module
from shoal.watch.account import Account, account_of


def line(kind: str, **document: Any) -> bytes:
    return f"{kind} {json.dumps(document)}".encode()


def film(start: float, end: float) -> bytes:
    return line("segments", file=f"2026-11-30/{start:.0f}.mp4", start=start, end=end, size_bytes=1, inode=1)


def looked(start: float, *events: str) -> bytes:
    name = f"cameras/north/2026-11-30/{start:.0f}.mp4"
    return line("ledger", segment=name, closed_s=start, at_s=start + 4, lag_s=4.0, events=events, stride=2)


def account(*lines: bytes) -> Account:
    return account_of("gate-1", "north", lines)


def test_a_hole_that_is_noted_is_accounted_for_and_one_that_is_not_is_found() -> None:
    noted = line("gaps", start=120.0, end=133.0, reason="killed", detail="")
    one = account(film(0, 60), film(61, 120), noted, film(133, 180), film(200, 240))
    assert one.without_film_s(0, 240) == 13 + 20
    assert one.unaccounted_s(0, 240) == 20
    assert one.unaccounted_s(0, 180) == 0
    assert one.unaccounted_s(0, 300) == 20 + 60  # it may have ended
    assert one.unaccounted_s(125, 150) == 0


def test_what_the_watch_has_not_come_to_and_what_it_did_twice_is_named() -> None:
    one = account(film(0, 60), film(60, 120), film(120, 180), looked(0), looked(60, "0" * 32), looked(60))
    assert one.waiting() == ["2026-11-30/120.mp4"]
    assert one.looked_at_twice() == ["cameras/north/2026-11-30/60.mp4"]
    assert account(line("told", id="a" * 32, segment="x", early=False)).published == ("a" * 32,)


def test_only_plain_files_are_sent(tmp_path: Path) -> None:
    """The recorder has a user with no rights, and root asks."""
    recorder, watch = tmp_path / "state" / "recorder" / "north", tmp_path / "watch" / "cameras" / "north"
    for folder in (recorder, watch):
        folder.mkdir(parents=True)
    (recorder / "segments.jsonl").write_text("{}\n{}\n")
    (recorder / "gaps.jsonl").symlink_to("/etc/passwd")
    os.mkfifo(watch / "ledger.jsonl")
    (watch / "told.jsonl").write_text("{}\n")
    script = module._ASK.replace(str(NODE_WATCH), str(tmp_path / "watch")).replace(
        str(NODE_STATE), str(tmp_path / "state")
    )
    done = subprocess.run(["sh", "-c", script, "ask", "north"], capture_output=True, check=True, timeout=30)
    assert done.stdout == b"segments {}\nsegments {}\ntold {}\n"


def test_what_a_power_cut_left_of_a_line_is_passed_over() -> None:
    one = account(film(0, 60), b'segments {"end": 12', film(60, 120))
    assert len(one.films) == 2


@pytest.mark.parametrize(
    "damaged",
    [b"segments {a}", b"else {}", line("segments", file="a"), line("told", id="../x"), line("ledger", segment="a")],
)
def test_records_that_are_damaged_are_refused_by_their_line(damaged: bytes) -> None:
    with pytest.raises(DamagedDocumentError, match="camera north, line 2"):
        account(film(0, 60), damaged)
