"""What the live demo says of what it counted: nothing missing, nothing twice, every second accounted for; or not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shoal.demo import live

CAMERA = live.CameraRecord(
    node="compute-1",
    camera="north",
    files=5,
    looked_at=5,
    looked_at_twice=(),
    gaps=(("killed", 14.0),),
    without_film_s=14.0,
    unaccounted_s=0.0,
    events=3,
    lag_s=(2.0, 3.0, 9.0),
)
RECORD = live.LiveRecord(
    node="compute-1",
    outage_s=61.0,
    power_off_s=10.2,
    looked_at_in_outage=1,
    cameras=(CAMERA,),
    events=3,
    published_twice=(),
    not_arrived=(),
    stored=3,
    put_twice=(),
    clips_stored=2,
    clips_to_make=1,
)


def test_what_was_lost_is_said_and_is_no_fault() -> None:
    assert RECORD.good
    said = " | ".join(live.sentences(RECORD))
    assert "without film: 14 s (noted: 14 s killed), unaccounted for: 0 s" in said
    assert "not arrived: 0; there or sent twice: 0; clips still being made: 1" in said


@pytest.mark.parametrize(
    "wrong",
    [
        {"published_twice": ("a",)},
        {"not_arrived": ("a",)},
        {"put_twice": ("alerts/a.json",)},
        {"events": 0},
        {"cameras": (replace(CAMERA, unaccounted_s=20.0),)},
        {"cameras": (replace(CAMERA, looked_at_twice=("x",)),)},
    ],
)
def test_what_is_missing_there_twice_or_unaccounted_for_is_a_failure(wrong: dict[str, Any]) -> None:
    assert not replace(RECORD, **wrong).good


def test_a_document_in_the_store_is_an_events_and_the_outboxs_trial_is_none() -> None:
    objects = ["lab/alerts/compute-1/2026-11-30/aa.0123.json", "lab/alerts/compute-1/2026-11-30/aa.4567.mp4"]
    assert live._documents([*objects, "lab/tests/compute-1/t.json", objects[0]]) == ["aa", "aa"]


def test_clips_of_other_events_in_the_store_are_not_the_demos() -> None:
    objects = ["lab/alerts/compute-1/2026-11-30/aa.01.mp4", "lab/alerts/compute-1/2026-11-30/bb.02.mp4"]
    assert {"aa"} & set(live._events_of(objects, "mp4")) == {"aa"}
    assert live._events_of(objects, "json") == []
