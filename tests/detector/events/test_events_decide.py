"""Tracks, what stands still, rules and periods: from detections to events."""

from __future__ import annotations

import json

import numpy as np
import pytest
from shoal_detect.events.cameras import Camera, cameras
from shoal_detect.events.decide import events, within
from shoal_detect.events.rules import PEOPLE, VEHICLES, Rule, Rules, Zone
from shoal_detect.events.scene import cells_unmoved
from shoal_detect.events.sightings import Seen
from shoal_detect.events.tracks import tracks

from tests.detector.events.scenes import Way, between, seen, stands, summary, walk

CAR = (0.4, 0.4, 0.6, 0.6)


def camera(seconds: float = 120.0, **more: object) -> Camera:
    (made,) = cameras([summary("gate.mp4", frames=round(seconds * 10), **more)], Rules())
    return made


def of(frames: list[Seen], rules: Rules = Rules(), *, unmoved: bool | None = None) -> list[dict[str, object]]:  # noqa: B008
    return [one.document for one in events(camera(), frames, rules, "people", lambda *_: unmoved)]


@pytest.mark.parametrize("fps", [2, 5, 10, 15, 30])
def test_one_walker_is_one_track_at_any_rate(fps: float) -> None:
    (track,) = tracks(seen([("person", walk((0.1, 0.6), (0.06, 0.0)))], seconds=10, fps=fps))
    assert len(track.times) == 10 * fps
    assert track.class_name == "person"


@pytest.mark.parametrize("fps", [2, 5, 10, 30])
def test_two_who_pass_each_other_stay_two_tracks(fps: float) -> None:
    ways = [("person", walk((0.1, 0.6), (0.08, 0))), ("person", walk((0.9, 0.75), (-0.08, 0)))]
    found = list(tracks(seen(ways, seconds=10, fps=fps)))
    assert len(found) == 2
    for track in found:
        steps = np.diff([box[0] for box in track.boxes])
        assert (steps > 0).all() or (steps < 0).all()


def test_a_single_false_box_makes_no_track() -> None:
    assert not list(tracks(seen([("person", between(stands(CAR), 1.0, 1.15))], seconds=3)))


def test_a_gap_of_two_seconds_is_bridged_and_one_of_five_is_not() -> None:
    way = walk((0.1, 0.6), (0.05, 0))

    def with_gap(length_s: float) -> Way:
        return lambda time_s: None if 3 < time_s < 3 + length_s else way(time_s)

    assert len(list(tracks(seen([("person", with_gap(2))], seconds=12)))) == 1
    assert len(list(tracks(seen([("person", with_gap(5))], seconds=12)))) == 2


def test_a_parked_car_makes_no_event_however_its_box_flickers() -> None:
    for jitter in (0.0, 0.03, 0.08):
        assert of(seen([("car", stands(CAR, jitter=jitter))], seconds=60)) == []


def test_headlights_on_a_parked_car_make_no_event() -> None:
    """The box breaks in two for seconds; the picture of the place stays the same but for its brightness."""
    still = stands(CAR, jitter=0.02)

    def lit(time_s: float) -> tuple[float, float, float, float] | None:
        return (0.4, 0.4, 0.49, 0.5) if 20 < time_s < 24 else still(time_s)

    frames = seen([("car", lit)], seconds=60)
    assert of(frames, unmoved=True) == []
    # And where the picture did change, it moved.
    assert len(of(frames, unmoved=False)) == 1


def test_the_picture_of_a_place_is_the_same_under_other_light_and_behind_a_passer_by_only() -> None:
    random = np.random.default_rng(3)
    place = np.kron(random.integers(0, 200, (24, 24)), np.ones((4, 4))).astype(np.float32)
    other = np.kron(random.integers(0, 200, (24, 24)), np.ones((4, 4))).astype(np.float32)
    assert cells_unmoved(place, np.clip(place * 1.4 + 30, 0, 255))
    passer_by = place.copy()
    passer_by[:, 24:60] = 20
    assert cells_unmoved(place, passer_by)
    assert not cells_unmoved(place, other)
    assert not cells_unmoved(place, np.roll(place, 48, axis=1))


def test_a_person_who_stands_in_a_doorway_makes_an_event_and_becomes_part_of_the_scene() -> None:
    (event,) = of(seen([("person", stands((0.4, 0.3, 0.45, 0.6), jitter=0.02))], seconds=60))
    assert event["severity"] == "alert"
    assert event["start_s"] == 0
    assert event["end_s"] == pytest.approx(Rules().still_s, abs=0.5)


def test_a_car_that_comes_and_parks_is_an_event_until_it_has_stood_for_ten_seconds() -> None:
    def parks(time_s: float) -> tuple[float, float, float, float]:
        x = min(0.05 + 0.1 * time_s, 0.6)
        return (x, 0.5, x + 0.2, 0.65)

    (event,) = of(seen([("car", parks)], seconds=60))
    assert event["severity"] == "record"
    assert event["start_s"] == 0
    assert event["end_s"] == pytest.approx(5.5 + 10, abs=2)


def test_a_car_that_leaves_after_a_minute_is_an_event_from_when_it_moves() -> None:
    def leaves(time_s: float) -> tuple[float, float, float, float]:
        x = 0.2 + max(0.0, time_s - 60) * 0.08
        return (x, 0.5, x + 0.2, 0.65)

    (event,) = of(seen([("car", leaves)], seconds=68), unmoved=False)
    assert event["start_s"] == pytest.approx(61, abs=1)


def test_quiet_ends_an_event_and_less_does_not() -> None:
    def twice(gap_s: float) -> list[Seen]:
        ways = [between(walk((0.1, 0.6), (0.1, 0)), at, at + 5) for at in (0.0, 5 + gap_s)]
        return seen([("person", way) for way in ways], seconds=60)

    assert len(of(twice(25))) == 1
    assert len(of(twice(35))) == 2


def test_three_people_in_eleven_minutes_are_few_events() -> None:
    ways = [between(walk((0.05, 0.6), (0.03, 0)), at, at + 29) for at in (10, 20, 320, 600)]
    found = of(seen([("person", way) for way in ways], seconds=660, fps=5))
    assert [len(one["objects"]) for one in found] == [2, 1, 1]  # type: ignore[arg-type]


def test_what_lasts_too_long_goes_on_as_another_event_without_a_gap() -> None:
    def restless(time_s: float) -> tuple[float, float, float, float]:
        x = 0.3 + 0.25 * np.sin(time_s)
        return (x, 0.5, x + 0.05, 0.7)

    found = of(seen([("person", restless)], seconds=25), Rules(longest_s=10))
    assert [(one["start_s"], one["end_s"]) for one in found] == [(0, 10), (10, 20), (20, 24.9)]


def test_confidence_size_length_and_class_are_kept_to() -> None:
    walker = [("person", between(walk((0.1, 0.6), (0.1, 0)), 0, 3))]
    frames = seen(walker, seconds=5, confidence=0.6)
    assert of(frames, Rules(rules=(PEOPLE,)))
    for rule in (
        Rule("sure", "alert", ("person",), confidence=0.7),
        Rule("tall", "alert", ("person",), least_size=0.3),
        Rule("long", "alert", ("person",), least_s=4),
        Rule("dogs", "alert", ("dog",)),
        Rule("elsewhere", "alert", ("person",), cameras=("yard*",)),
        Rule("nowhere", "alert", ("person",), zones=("not drawn",)),
    ):
        assert of(frames, Rules(rules=(rule,))) == [], rule.name


def test_alerts_stand_before_records_and_the_reason_names_both() -> None:
    frames = seen([("person", walk((0.1, 0.9), (0.05, 0))), ("car", walk((0.1, 0.4), (0.1, 0)))], seconds=8)
    (event,) = of(frames)
    assert (event["severity"], event["rule"]) == ("alert", "people")
    assert event["reason"] == "1 person (rule people); 1 car (rule vehicles)"
    assert [one["class"] for one in event["objects"]] == ["person", "car"]  # type: ignore[attr-defined]


DOOR = Zone("door", ((0.5, 0.5), (0.8, 0.5), (0.8, 0.9), (0.5, 0.9)))


def test_a_zone_counts_what_has_its_feet_in_it() -> None:
    rules = Rules(rules=(Rule("door", "alert", ("person",), zones=("door",)),), zones=(DOOR,))
    (event,) = of(seen([("person", walk((0.1, 0.7), (0.1, 0)))], seconds=10), rules)
    assert (event["start_s"], event["end_s"]) == pytest.approx((4.0, 7.0), abs=0.2)
    assert of(seen([("person", walk((0.1, 0.4), (0.1, 0)))], seconds=10), rules) == []
    assert of(seen([("person", walk((0.1, 0.7), (0.1, 0)))], seconds=10), Rules(rules=rules.rules)) == []


def test_dwell_and_loitering() -> None:
    def stays(time_s: float) -> tuple[float, float, float, float]:
        x = min(0.1 + 0.1 * time_s, 0.6)
        return (x, 0.5, x + 0.05, 0.7)

    frames = seen([("person", stays)], seconds=60)

    def rule(**more: float) -> Rules:
        return Rules(rules=(Rule("door", "alert", ("person",), zones=("door",), **more),), zones=(DOOR,))  # type: ignore[arg-type]

    (dwelt,) = of(frames, rule(dwell_s=5.0))
    assert dwelt["start_s"] == pytest.approx(4 + 5, abs=0.5)
    (loitered,) = of(frames, rule(loitering_s=20.0))
    assert (loitered["start_s"], loitered["end_s"]) == pytest.approx((4 + 20, 59.9), abs=0.5)
    passing = seen([("person", walk((0.1, 0.7), (0.1, 0)))], seconds=10)
    assert of(passing, rule(loitering_s=20.0)) == []
    assert of(passing, rule(dwell_s=5.0)) == []


def test_a_car_that_was_always_there_does_not_loiter() -> None:
    rules = Rules(
        rules=(Rule("door", "alert", ("car",), zones=("door",), moving=True, loitering_s=20.0),), zones=(DOOR,)
    )
    assert of(seen([("car", stands((0.5, 0.6, 0.7, 0.8)))], seconds=60), rules) == []


def test_a_point_in_a_polygon_that_is_not_convex() -> None:
    horseshoe = ((0, 0), (1, 0), (1, 1), (0.7, 1), (0.7, 0.3), (0.3, 0.3), (0.3, 1), (0, 1))
    points = np.array([[0.1, 0.9], [0.5, 0.9], [0.9, 0.9], [0.5, 0.1], [1.1, 0.5]])
    assert within(points, horseshoe).tolist() == [True, False, True, True, False]


def test_the_same_detections_give_the_same_bytes_and_other_ones_another_id() -> None:
    def lines(speed: float) -> str:
        return json.dumps(of(seen([("person", walk((0.1, 0.6), (speed, 0)))], seconds=8)))

    assert lines(0.05) == lines(0.05)
    assert json.loads(lines(0.05))[0]["id"] != json.loads(lines(0.051))[0]["id"]


def test_default_rules_are_people_as_alerts_and_moving_vehicles_as_records() -> None:
    assert Rules().rules == (PEOPLE, VEHICLES)
    assert VEHICLES.moving
    assert not PEOPLE.moving
