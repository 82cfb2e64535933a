"""Which footage a run is for, where it is asked for cameras and a time."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from shoal_detect import run as running
from shoal_detect.cli import parse_settings
from shoal_detect.errors import DetectorError, Exit
from shoal_detect.events.cameras import cameras
from shoal_detect.events.rules import Rule, Rules
from shoal_detect.read.archive import Wanted
from shoal_detect.read.videos import Found, find_videos
from shoal_detect.run import run
from shoal_detect.stop import Stop

from tests.detector import detector_making as making
from tests.detector.events.scenes import summary

SINCE = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)


def laid(folder: Path, name: str, closed: datetime) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0\0\0\x18ftypisom")
    os.utime(path, (closed.timestamp(), closed.timestamp()))


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    for camera in ("north", "gate"):
        for hour, minute in ((7, 58), (7, 59), (8, 0), (8, 30)):
            name = f"cameras/{camera}/2026-11-30/20261130T{hour:02d}{minute:02d}30Z.mp4"
            laid(tmp_path, name, datetime(2026, 11, 30, hour + (minute == 59), (minute + 1) % 60, 30, tzinfo=UTC))
    laid(tmp_path, "cameras/north/2026-11-29/20261129T080000Z.mp4", datetime(2026, 11, 30, 9, tzinfo=UTC))  # copied
    laid(tmp_path, "cameras/north-2/2026-11-30/20261130T090000Z.mp4", datetime(2026, 11, 30, 9, 1, tzinfo=UTC))
    laid(tmp_path, "clip.mp4", datetime(2026, 11, 30, 7, tzinfo=UTC))
    return tmp_path


def names(folder: Path, wanted: Wanted) -> list[str]:
    return [one.name for one in wanted.of(find_videos(str(folder)).videos)]


def test_cameras_are_asked_for_by_their_whole_name(footage: Path) -> None:
    assert all("/north/" in name for name in names(footage, Wanted(cameras=("north",))))
    assert len(names(footage, Wanted(cameras=("north", "gate")))) == 9
    assert len(names(footage, Wanted())) == 11


def test_footage_that_reaches_into_the_time_is_wanted(footage: Path) -> None:
    found = names(footage, Wanted(SINCE, ("gate",)))
    assert [name[-9:-5] for name in found] == ["5930", "0030", "3030"]
    assert "clip.mp4" not in names(footage, Wanted(SINCE))
    assert not [name for name in names(footage, Wanted(SINCE)) if "2026-11-29" in name]


def test_what_a_recorder_wrote_is_one_camera_over_days() -> None:
    files = ["cameras/north/2026-11-29/20261129T235900Z.mp4", "cameras/north/2026-11-30/20261130T000000Z.mp4"]
    (camera,) = cameras([summary(name, frames=600) for name in files], Rules())
    assert camera.name == "north"


def test_a_run_over_the_archive_says_what_it_was_asked_for(videos: Path, state: Path, arguments) -> None:
    making.write_video(videos / "north-20261130T080000Z.mp4", making.moving())
    making.write_video(videos / "other.mp4", making.moving())
    os.utime(videos / "other.mp4", (1, 1))
    settings = parse_settings(arguments("--since", "2026-11-30T08:00:00Z"))
    assert run(settings, Stop()) == Exit.DONE
    written = making.document(state / "summary.json")
    assert [one["video"] for one in written["videos"]] == ["north-20261130T080000Z.mp4"]
    assert (written["settings"]["since"], written["settings"]["cameras"]) == ("2026-11-30T08:00:00+00:00", None)
    with pytest.raises(DetectorError, match="other settings"):
        run(parse_settings(arguments()), Stop())


def test_a_camera_may_be_named_by_its_folder(tmp_path: Path, arguments) -> None:
    laid(tmp_path, "Yard/Cam 1/20261130T090000Z.mp4", SINCE)
    laid(tmp_path, "Yard/Cam 10/20261130T090000Z.mp4", SINCE)
    wanted = parse_settings(arguments("--cameras", "Yard/Cam 1")).wanted
    assert names(tmp_path, wanted) == ["Yard/Cam 1/20261130T090000Z.mp4"]


def test_a_class_that_is_asked_for_makes_events_though_no_rule_is_about_it() -> None:
    asked = Rule("asked for", "record", ("person", "bench"), confidence=0.3)
    rules = Rules(rules=(Rule("door", "alert", ("person",), cameras=("gate",)),), asked=asked)
    assert [(one.name, one.classes) for one in rules.of("gate")] == [("door", ("person",)), ("asked for", ("bench",))]
    assert rules.of("north") == (asked,)
    assert replace(rules, asked=None).of("north") == ()


def test_what_nobody_has_is_an_outcome_with_a_name(videos: Path, arguments) -> None:
    making.write_video(videos / "a.mp4", making.moving())
    with pytest.raises(DetectorError, match="of north, gate since 2026-11-30T08:00:00") as caught:
        run(parse_settings(arguments("--since", "2026-11-30T08:00:00Z", "--cameras", "north,gate")), Stop())
    assert caught.value.exit_code == Exit.NO_VIDEOS


def test_film_that_its_recorder_removes_meanwhile_is_counted_and_no_fault(
    videos: Path, state: Path, arguments, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who asks for seven days of film that is kept for seven days asks for film that goes."""
    day = videos / "cameras" / "north" / "2026-11-30"
    day.mkdir(parents=True)
    for name in ("20261130T080000Z.mp4", "20261130T080100Z.mp4", "20261130T080200Z.mp4"):
        making.write_video(day / name, making.moving())

    def listed_then_gone(*names: str) -> None:
        def found(folder: str) -> Found:
            there = find_videos(folder)
            for name in names:
                (videos / name).unlink()
            return there

        monkeypatch.setattr(running, "find_videos", found)

    listed_then_gone("cameras/north/2026-11-30/20261130T080000Z.mp4")
    assert run(parse_settings(arguments("--cameras", "north")), Stop()) == Exit.DONE
    written = making.document(state / "summary.json")
    assert [one["video"][-8:-5] for one in written["videos"]] == ["100", "200"]
    assert (written["not_read"]["gone"], written["totals"]["faulty"]) == (1, 0)
    assert "the recorder removed it before the run came to it" in capsys.readouterr().out
    schema = json.loads((making.DETECTOR / "schemas" / "summary.schema.json").read_text())
    jsonschema.validate(written["not_read"], schema["properties"]["not_read"])

    listed_then_gone(*(f"cameras/north/2026-11-30/20261130T080{minute}00Z.mp4" for minute in (1, 2)))
    other = ("--state", str(state.parent / "other"), "--run", "other")
    with pytest.raises(DetectorError, match="all 2 videos of north went before the run came") as caught:
        run(parse_settings(arguments("--cameras", "north", *other)), Stop())
    assert caught.value.exit_code == Exit.NO_VIDEOS

    making.write_video(videos / "theirs.mp4", making.moving())
    listed_then_gone("theirs.mp4")
    third = ("--state", str(state.parent / "third"), "--run", "third")
    assert run(parse_settings(arguments(*third)), Stop()) == Exit.FAULTY_VIDEOS


def test_wrong_asking_is_named_at_once(arguments) -> None:
    with pytest.raises(DetectorError) as caught:
        parse_settings(arguments("--since", "yesterday", "--cameras", "a//b,"))
    assert "--since 'yesterday'" in caught.value.message
    assert "--cameras 'a//b,'" in caught.value.message
