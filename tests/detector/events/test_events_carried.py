"""Events of a camera whose footage comes file by file: as those of one pass, whatever files it was cut into."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from shoal_detect.events.cameras import Camera, cameras
from shoal_detect.events.carried import Carried, advance, finish, follow, of_document, to_document
from shoal_detect.events.decide import events
from shoal_detect.events.rules import Rule, Rules, Zone
from shoal_detect.events.sightings import Seen

from tests.detector.events.scenes import Way, between, seen, stands, summary, walk

SECONDS = 300.0
BEGAN = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
DOOR = Zone("door", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))


def scene(seed: int) -> list[Seen]:
    """Five minutes: a parked car that flickers, one that leaves, and people and cars that come and go."""
    random = np.random.default_rng(seed)
    things: list[tuple[str, Way]] = [("car", stands((0.7, 0.7, 0.9, 0.9), jitter=0.02, seed=seed))]
    leaves_s = float(random.uniform(50, 200))
    parked, drives = stands((0.1, 0.7, 0.3, 0.9), jitter=0.02), walk((0.2, 0.9), (0.05, -0.02), size=(0.2, 0.2))
    things.append(("car", lambda time_s: parked(time_s) if time_s < leaves_s else drives(time_s - leaves_s)))
    for _ in range(int(random.integers(2, 6))):
        start_s = float(random.uniform(0, SECONDS - 40))
        way = walk((0.05, float(random.uniform(0.3, 0.6))), (float(random.uniform(0.01, 0.06)), 0.0))
        name = str(random.choice(["person", "car", "dog"]))
        things.append((name, between(way, start_s, start_s + float(random.uniform(1, 60)))))
    return seen(things, seconds=SECONDS, fps=5)


def in_pieces(frames: Sequence[Seen], rules: Rules, cuts: Sequence[float], *, saved: bool = True) -> list[object]:
    """Documents of the events where the footage comes in files that end at `cuts`, each taken up from what was kept."""
    carried, found, start_s = Carried(), [], 0.0
    summaries = []
    for end_s in [*cuts, SECONDS]:
        began = BEGAN + timedelta(seconds=start_s)
        one = summary(f"gate/{began:%Y%m%dT%H%M%SZ}.mp4", frames=round((end_s - start_s) * 5), fps=5)
        summaries.append(one)
        follow(carried, one, began, steady=True)
        piece = [frame for frame in frames if start_s <= frame.time_s < end_s]
        found += advance(carried, "gate", piece, rules=rules, privacy="people", unmoved=lambda *_: None)
        if saved:
            carried = of_document(json.loads(json.dumps(to_document(carried))), summaries)
        start_s = end_s
    found += finish(carried, "gate", rules=rules, privacy="people", unmoved=lambda *_: None)
    return [strip(event.document) for event in found]


def strip(document: dict[str, object]) -> dict[str, object]:
    """Without the names of the files, which differ with the cuts."""
    return {name: value for name, value in document.items() if name != "videos"}


def at_once(frames: Sequence[Seen], rules: Rules) -> list[object]:
    one = summary("gate/20261130T080000Z.mp4", frames=round(SECONDS * 5), fps=5)
    (camera,) = cameras([one], rules)
    assert isinstance(camera, Camera)
    return [strip(event.document) for event in events(camera, frames, rules, "people", lambda *_: None)]


@pytest.mark.parametrize("seed", range(4))
def test_events_over_files_are_those_of_one_pass(seed: int) -> None:
    frames = scene(seed)
    expected = at_once(frames, Rules())
    assert expected
    assert in_pieces(frames, Rules(), [60.0 * minute for minute in range(1, 5)]) == expected
    random = np.random.default_rng(seed)
    cuts = sorted({round(float(cut) / 5) * 5.0 for cut in random.uniform(5, SECONDS - 5, 9)})
    assert in_pieces(frames, Rules(), cuts) == expected
    assert in_pieces(frames, Rules(), [], saved=False) == expected


def test_what_lasts_long_is_cut_into_the_same_pieces() -> None:
    """Somebody walks to and fro for four minutes: decided pieces stay, what is open goes on."""

    def to_and_fro(time_s: float) -> tuple[float, float, float, float] | None:
        if not 10 < time_s < 250:
            return None
        x = 0.5 + 0.3 * np.sin(time_s / 4)
        return x - 0.03, 0.4, x + 0.03, 0.6

    frames = seen([("person", to_and_fro)], seconds=SECONDS, fps=5)
    expected = at_once(frames, Rules(longest_s=50))
    assert len(expected) > 4
    assert in_pieces(frames, Rules(longest_s=50), [60.0 * minute for minute in range(1, 5)]) == expected


def test_who_loiters_is_the_same_over_files() -> None:
    rules = Rules(
        rules=(Rule("loiters", "alert", ("person",), zones=("door",), loitering_s=20),), zones=(DOOR,), longest_s=100
    )
    frames = seen([("person", between(stands((0.4, 0.4, 0.45, 0.6)), 20, 280))], seconds=SECONDS, fps=5)
    expected = at_once(frames, rules)
    assert len(expected) == 3  # more than the longest event
    assert in_pieces(frames, rules, [60.0 * minute for minute in range(1, 5)]) == expected


def test_a_parked_car_leaves_no_growing_memory() -> None:
    frames = seen([("car", stands((0.4, 0.4, 0.6, 0.6), jitter=0.02))], seconds=SECONDS, fps=5)
    carried = Carried()
    sizes = []
    for minute in range(5):
        began = BEGAN + timedelta(minutes=minute)
        follow(carried, summary(f"gate/{began:%H%M}.mp4", frames=300, fps=5), began, steady=True)
        piece = [frame for frame in frames if minute * 60 <= frame.time_s < minute * 60 + 60]
        assert advance(carried, "gate", piece, rules=Rules(), privacy="people", unmoved=lambda *_: None) == []
        sizes.append(len(json.dumps(to_document(carried))))
    assert max(sizes[2:]) < 1.5 * sizes[1]


def test_an_event_is_decided_with_the_file_in_which_its_quiet_time_ends() -> None:
    frames = seen([("person", between(walk((0.1, 0.6), (0.02, 0)), 5, 15))], seconds=60, fps=5)
    carried = Carried()
    follow(carried, summary("gate/a.mp4", frames=300, fps=5), BEGAN, steady=True)
    (event,) = advance(carried, "gate", frames, rules=Rules(), privacy="people", unmoved=lambda *_: None)
    assert event.document["start_utc"] == "2026-11-30T08:00:05.000Z"


def test_a_clock_that_is_set_back_moves_no_camera_time() -> None:
    carried = Carried()
    follow(carried, summary("gate/a.mp4", frames=600), BEGAN, steady=True)
    part = follow(carried, summary("gate/b.mp4", frames=600), BEGAN - timedelta(hours=1), steady=True)
    assert part.offset_s == 60
    assert carried.camera("gate").utc(60) == "2026-11-30T07:00:00.000Z"
    part = follow(carried, summary("gate/c.mp4", frames=600), BEGAN, steady=True)
    assert part.offset_s == 3660
    assert carried.camera("gate").utc(3660) == "2026-11-30T08:00:00.000Z"
