"""Event rules as people write them: defaults, every fault at once, and the same document on the node."""

from __future__ import annotations

from pathlib import Path

import pytest
from shoal_detect.events import rules as detector
from shoal_detect.model.classes import NAMES

from shoal.errors import UsageError
from shoal.jobs.classes import COCO_NAMES
from shoal.site import event_rules

RULES = """
quiet_s = 20
name_times = "+02:00"

[[rule]]
name = "door"
severity = "alert"
classes = ["person"]
zones = ["door"]
dwell_s = 3

[[rule]]
name = "parked"
severity = "record"
classes = ["car", "truck"]
moving = true
zones = ["door"]
loitering_s = 60
cameras = ["gate*"]

[[zone]]
name = "door"
points = [[0.1, 0.2], [0.5, 0.2], [0.5, 0.9]]

[[camera]]
name = "gate"
files = ["gate/*.mp4"]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "events.toml"
    path.write_text(text, encoding="utf-8")
    return path


def on_node(tmp_path: Path, rules: event_rules.EventRules) -> detector.Rules:
    (tmp_path / "videos" / ".shoal").mkdir(parents=True)
    (tmp_path / "videos" / detector.FILE).write_text(event_rules.for_nodes(rules), encoding="utf-8")
    return detector.read_rules(str(tmp_path / "videos"))


def test_what_is_written_is_what_the_detector_reads(tmp_path: Path) -> None:
    rules = on_node(tmp_path, event_rules.read(written(tmp_path, RULES)))
    assert (rules.quiet_s, rules.roll_before_s, rules.name_times) == (20, 5, "+02:00")
    assert rules.rules[0] == detector.Rule("door", "alert", ("person",), zones=("door",), dwell_s=3)
    assert (rules.rules[1].loitering_s, rules.rules[1].moving, rules.rules[1].cameras) == (60, True, ("gate*",))
    assert rules.zones == (detector.Zone("door", ((0.1, 0.2), (0.5, 0.2), (0.5, 0.9))),)
    assert rules.cameras == (detector.CameraFiles("gate", ("gate/*.mp4",)),)


def test_an_empty_file_is_the_detectors_defaults(tmp_path: Path) -> None:
    assert on_node(tmp_path, event_rules.read(written(tmp_path, ""))) == detector.Rules()


def test_every_fault_is_in_one_list(tmp_path: Path) -> None:
    text = RULES.replace("quiet_s = 20", "quiet_s = -1").replace('"alert"', '"loud"').replace("0.9]]", "1.9]]")
    with pytest.raises(UsageError) as raised:
        event_rules.read(written(tmp_path, text + "\n[surprise]\n"))
    where = {fault.where for fault in raised.value.faults}
    assert {"quiet_s", "rule[0].severity", "surprise"} <= where
    assert any(one.startswith("zone[0].points[2]") for one in where)


def test_what_no_single_field_shows_is_found_too(tmp_path: Path) -> None:
    text = RULES.replace('["car", "truck"]', '["car", "unicorn"]').replace('name = "parked"', 'name = "door"')
    text = text.replace('zones = ["door"]\nloitering', 'zones = ["yard"]\nloitering').replace(
        "[0.5, 0.9]", "[0.9, 0.2]"
    )
    with pytest.raises(UsageError) as raised:
        event_rules.read(written(tmp_path, text))
    told = "\n".join(map(str, raised.value.faults))
    for words in ("'unicorn'", "'door' comes 2 times", "there is no zone 'yard'", "enclose nothing"):
        assert words in told


@pytest.mark.parametrize("text", ["quiet_s = ", "name_times = 'Berlin'", "rule = 3"])
def test_what_cannot_be_rules_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="event rules"):
        event_rules.read(written(tmp_path, text))


def test_the_classes_are_the_detectors() -> None:
    assert NAMES == COCO_NAMES
