"""The events of the twelve sample clips against those that a person listed from looking at them.

Needs the weights' and clips' packages (cached after the first time), no lab.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shoal_detect.cli import parse_settings
from shoal_detect.errors import Exit
from shoal_detect.run import run
from shoal_detect.stop import Stop

from shoal.site import sample_clips, weights

pytestmark = pytest.mark.lab

EXPECTED: dict[str, Any] = json.loads(Path(__file__).with_name("sample_events.json").read_text())["clips"]
VEHICLES = {"bicycle", "car", "motorcycle", "bus", "truck"}
NEAR_S = 1.0


def score(events: list[dict[str, Any]]) -> tuple[float, float]:
    """Recall and precision: an event is right that has the camera, the severity and the time of a listed one."""
    left = dict(EXPECTED)
    right = 0
    for event in events:
        one = left.get(event["camera"])
        if one is None or one["severity"] != event["severity"]:
            continue
        if all(abs(one[name] - event[name]) <= NEAR_S for name in ("start_s", "end_s")):
            del left[event["camera"]]
            right += 1
    return right / len(EXPECTED), right / len(events) if events else 0.0


def parked_and_listed(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Vehicles among the events' objects that stood where a parked one stands, or are of a kind that does not move."""
    return [
        (event["camera"], one["class"])
        for event in events
        for one in event["objects"]
        if one["class"] in VEHICLES and not _moves(one, EXPECTED[event["camera"]])
    ]


def _moves(one: dict[str, Any], expected: dict[str, Any]) -> bool:
    if expected["moving"] is None:  # the camera itself moves
        return True
    stood = any(
        all(abs(x - place[0]) < 0.05 and abs(y - place[1]) < 0.05 for _, x, y in one["path"])
        for place in expected["parked"]
    )
    return one["class"] in expected["moving"] and not stood


def test_recall_and_precision_on_the_samples(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for clip in sample_clips.sample_clips():
        (tmp_path / "in" / clip.path.name).symlink_to(clip.path)
    model = weights.yolov5s()
    settings = parse_settings(
        [
            *("--input", str(tmp_path / "in"), "--state", str(tmp_path / "state"), "--run", "samples"),
            *("--weights", str(model.path), "--weights-name", model.name, "--weights-sha256", model.sha256),
            *("--key-frames", "0", "--clips", "off"),
        ]
    )
    assert run(settings, Stop()) is Exit.DONE
    events = [json.loads(line) for line in (tmp_path / "state" / "events.jsonl").read_bytes().splitlines()]
    assert score(events) == (1.0, 1.0)
    assert parked_and_listed(events) == []
