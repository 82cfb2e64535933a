"""Which files are one camera, when they began, and camera time across files."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from shoal_detect.events.cameras import Camera, cameras
from shoal_detect.events.rules import CameraFiles, Rules

from tests.detector.events.scenes import summary


def of(names: Sequence[str], rules: Rules = Rules(), *, frames: int = 50, **more: object) -> dict[str, Camera]:  # noqa: B008
    return {one.name: one for one in cameras([summary(name, frames=frames, **more) for name in names], rules)}


@pytest.mark.parametrize(
    ("name", "camera", "began"),
    [
        ("gate.mp4", "gate", None),
        ("cam00-campus.mp4", "cam00-campus", None),
        ("gate/20261130T120000Z.mp4", "gate", "2026-11-30T12:00:00.000Z"),
        ("gate/gate_2026-11-30_12-00-00.mp4", "gate", "2026-11-30T12:00:00.000Z"),
        ("gate-20261130-120000.mkv", "gate", "2026-11-30T12:00:00.000Z"),
        ("gate 2026-11-30 14.00.00+0200.mkv", "gate", "2026-11-30T12:00:00.000Z"),
        ("a/b/north-2026.11.30T12:00:00.250Z.ts", "a/b/north", "2026-11-30T12:00:00.250Z"),
        ("gate-20261399-120000.mp4", "gate", None),
        ("20261130.mp4", "20261130", None),
    ],
)
def test_names_say_camera_and_time(name: str, camera: str, began: str | None) -> None:
    (found,) = of([name]).values()
    assert (found.name, found.utc(0)) == (camera, began)


def test_signs_that_are_no_figures_are_in_names_too() -> None:
    """Files of one camera in order, whatever is between their numbers."""
    rules = Rules(cameras=(CameraFiles("yard", ("*",)),))
    (found,) = of(["m1²10.mp4", "m1²2.mp4", "²/3.mp4", "٣.mp4"], rules).values()
    names = [part.summary["video"] for part in found.parts]
    assert [one for one in names if "m1" in one] == ["m1²2.mp4", "m1²10.mp4"]


def test_metadata_tells_the_time_where_the_name_does_not() -> None:
    (found,) = of(["gate.mp4"], recorded_at="2026-11-30T12:00:00.000+00:00").values()
    assert found.utc(1.5) == "2026-11-30T12:00:01.500Z"


def test_times_in_names_can_be_of_another_zone_or_unknown() -> None:
    assert of(["gate-20261130-120000.mp4"], Rules(name_times="+02:00"))["gate"].utc(0) == "2026-11-30T10:00:00.000Z"
    assert of(["gate-20261130-120000.mp4"], Rules(name_times="unknown"))["gate"].utc(0) is None


def test_segments_lie_one_behind_the_other() -> None:
    names = [f"gate/20261130T1200{second:02d}Z.mp4" for second in (10, 0, 5)]
    camera = of(names)["gate"]
    assert [part.offset_s for part in camera.parts] == [0, 5, 10]
    assert camera.utc(12.5) == "2026-11-30T12:00:12.500Z"


def test_a_recorder_that_names_by_the_second_makes_no_gaps_and_a_real_gap_stays_one() -> None:
    names = ["gate/20261130T120000Z.mp4", "gate/20261130T120006Z.mp4", "gate/20261130T120500Z.mp4"]
    assert [part.offset_s for part in of(names)["gate"].parts] == [0, 5, 300]


def test_numbers_without_a_hole_are_segments_and_others_are_cameras() -> None:
    assert set(of(["gate-000.mp4", "gate-001.mp4", "gate-002.mp4"])) == {"gate"}
    assert set(of(["gate/001.mp4", "gate/002.mp4"])) == {"gate"}
    assert set(of(["cam-101.mp4", "cam-102.mp4"])) == {"cam-101", "cam-102"}
    assert set(of(["cam-001.mp4", "cam-002.mp4"])) == {"cam-001", "cam-002"}
    assert set(of(["cam01.mp4", "cam02.mp4"])) == {"cam01", "cam02"}
    assert len(of(["gate.mp4", "gate.mkv"])) == 2


def test_the_rules_can_name_a_camera() -> None:
    rules = Rules(cameras=(CameraFiles("yard", ("dump/*.mp4",)),))
    camera = of(["dump/x10.mp4", "dump/x9.mp4", "other.mp4"], rules)["yard"]
    assert [part.summary["video"] for part in camera.parts] == ["dump/x9.mp4", "dump/x10.mp4"]


@pytest.mark.parametrize("fps", [10, 12.5, 15, 25, 29.97])
@pytest.mark.parametrize("cuts", [(50, 50, 50), (74, 73, 3), (1, 149)])
def test_camera_time_of_a_frame_does_not_depend_on_where_the_footage_was_cut(fps: float, cuts: tuple[int, ...]) -> None:
    whole = cameras([summary("gate.mp4", frames=sum(cuts), fps=fps)], Rules())[0].parts[0]
    pieces = cameras([summary(f"gate-{n:03d}.mp4", frames=frames, fps=fps) for n, frames in enumerate(cuts)], Rules())
    assert [one.name for one in pieces] == ["gate"]
    number = 0
    for part in pieces[0].parts:
        for frame in range(part.summary["frames"]):
            assert part.time_s(frame, round(frame / fps, 3)) == whole.time_s(number, round(number / fps, 3))
            number += 1


def test_videos_without_a_frame_belong_to_no_camera() -> None:
    assert cameras([summary("empty.mp4", frames=0, duration_s=None)], Rules()) == []
