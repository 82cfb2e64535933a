"""The page of zones: every camera of a run, with or without events, its zones on a picture of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoal.cli import app
from shoal.report import read_run, zones
from shoal.report.zones import Zone
from shoal.results import record as runs
from tests.shoal.report import report_example as example

DOOR = Zone("door", ((0.1, 0.2), (0.5, 0.2), (0.5, 0.9)), ("gate*",))
ANYWHERE = Zone("floor <i>", ((0, 0.5), (1, 0.5), (1, 1), (0, 1)))
ELSEWHERE = Zone("ramp", ((0, 0), (1, 0), (1, 1)), ("dock*",))
CAMERAS = [
    {"name": "gate", "videos": ["gate.mp4"]},
    {"name": "yard <b>", "videos": ["yard <b>.mp4"]},
    {"name": "quiet", "videos": ["quiet.mp4"]},
]
RULES = """
[[rule]]
name = "door"
severity = "alert"
classes = ["person"]
zones = ["door"]

[[zone]]
name = "door"
points = [[0.1, 0.2], [0.5, 0.2], [0.5, 0.9]]
cameras = ["gate*"]
"""


def sections(page: str) -> dict[str, str]:
    """The page's cameras by name."""
    found = re.findall(r'<h2 id="c-\d+">(.*?) <small>(.*?)</section>', page, re.DOTALL)
    return dict(found)


def test_each_camera_shows_its_own_zones_on_a_picture_of_it(runs_folder: Path) -> None:
    run = example.events_run(cameras=CAMERAS)
    page = zones.render(read_run(run), runs.run_dir(run), [DOOR, ANYWHERE, ELSEWHERE])
    by_camera = sections(page)
    assert list(by_camera) == ["gate", "quiet", "yard &lt;b&gt;"]
    assert '<polygon class="f1" points="0.1,0.2 0.5,0.2 0.5,0.9"/>' in by_camera["gate"]
    assert [section.count("<polygon") for section in by_camera.values()] == [2, 0, 1]
    assert by_camera["gate"].count('src="data:image/jpeg;base64,') == 1
    assert "No picture of this camera came home" in by_camera["quiet"]
    assert "floor &lt;i&gt;" in by_camera["quiet"]
    assert "The zone ramp belongs to none of these cameras (dock*)" in page
    assert "floor <i>" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_results_of_an_older_detector_show_the_cameras_with_events(runs_folder: Path) -> None:
    run = example.events_run()
    page = zones.render(read_run(run), runs.run_dir(run), [DOOR])
    assert list(sections(page)) == ["gate", "yard &lt;b&gt;"]


def test_the_command_writes_the_page_of_a_rules_file(runs_folder: Path, tmp_path: Path) -> None:
    run = example.events_run(cameras=CAMERAS)
    (tmp_path / "rules.toml").write_text(RULES)
    result = CliRunner().invoke(app, ["site", "zones", run, "--events", str(tmp_path / "rules.toml")])
    assert result.exit_code == 0, result.output
    page = (runs.run_dir(run) / "zones.html").read_text()
    assert sections(page)["gate"].count("<polygon") == 1


@pytest.mark.parametrize(
    ("rules", "arguments", "said"),
    [
        (RULES[: RULES.index("[[zone]]")].replace('zones = ["door"]', ""), ["--latest"], "these rules have no zone"),
        (RULES.replace('"door"]', '"gate"]'), ["--latest"], "there is no zone 'gate'"),
        (RULES, [], "name one run, or say --latest"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    runs_folder: Path, tmp_path: Path, rules: str, arguments: list[str], said: str
) -> None:
    example.events_run(cameras=CAMERAS)
    (tmp_path / "rules.toml").write_text(rules)
    result = CliRunner().invoke(app, ["site", "zones", *arguments, "--events", str(tmp_path / "rules.toml")])
    assert result.exit_code != 0
    assert said in result.output + str(result.exception)
