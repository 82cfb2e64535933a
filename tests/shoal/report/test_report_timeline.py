"""The bars stand where the detections are."""

from __future__ import annotations

import re

import pytest

from shoal.report import read_run
from shoal.report.model import Video
from shoal.report.timeline import MAX_BARS, OTHER, Timeline, timeline
from shoal.results import record as runs
from shoal.results.documents import Moment
from tests.shoal.report import report_example as example


@pytest.fixture
def video() -> Video:
    return read_run(example.whole_run()).nodes[0].videos[1]


def drawn(video: Video, seconds: list[tuple[float, dict[str, int]]], duration_s: float | None) -> Timeline | None:
    changed = video.model_copy(
        update={"timeline": [Moment(time_s=t, counts=c) for t, c in seconds], "duration_s": duration_s}
    )
    return timeline(changed, {"person": 1, "car": 2}, other=8)


def rectangles(path: str) -> list[tuple[float, float, float]]:
    """Left, bottom and height of each bar."""
    return [
        (float(x), float(bottom), float(height))
        for x, bottom, height in re.findall(r"M(\S+) (\S+?)h\S+?v-(\S+?)h-\S+?z", path)
    ]


def test_bars_are_stacked_and_the_tallest_fills_the_height(video: Video) -> None:
    line = drawn(video, [(0, {"person": 3, "car": 1}), (2, {"car": 2})], 4.0)

    assert line is not None
    assert (line.bars, line.bar_s, line.peak) == (4, 1, 4)
    person, car = line.layers
    assert (person.name, person.colour) == ("person", 1)
    assert rectangles(person.path) == [(0, 100, 75)]
    assert rectangles(car.path) == [(0, 25, 25), (2, 100, 50)]
    assert line.rows == [("0:00", [3, 1]), ("0:01", [0, 0]), ("0:02", [0, 2]), ("0:03", [0, 0])]
    assert line.text == (
        "Detections per 1 s over 4.0 s. person: 3 detections, most at 0:00 (3). car: 3 detections, most at 0:02 (2)."
    )


def test_long_videos_get_wider_bars_and_lose_nothing(video: Video) -> None:
    line = drawn(video, [(second, {"person": 1}) for second in range(7200)], 7200.0)

    assert line is not None
    assert line.bars == MAX_BARS
    assert line.bar_s == 60
    assert sum(sum(found) for _, found in line.rows) == 7200


def test_classes_without_a_colour_are_one_layer(video: Video) -> None:
    line = drawn(video, [(0, {"zebra": 2, "dog": 1, "car": 1})], 1.0)

    assert line is not None
    assert [(layer.name, layer.colour) for layer in line.layers] == [("car", 2), (OTHER, 8)]
    assert line.rows == [("0:00", [1, 3])]


@pytest.mark.parametrize("duration_s", [None, 0.0, 2.5])
def test_detections_after_the_stated_end_are_drawn(video: Video, duration_s: float | None) -> None:
    line = drawn(video, [(9, {"car": 1})], duration_s)

    assert line is not None
    assert line.bars == 10
    assert rectangles(line.layers[0].path) == [(9, 100, 100)]


def test_nothing_found_has_no_timeline(video: Video) -> None:
    assert drawn(video, [], 10.0) is None
    assert drawn(video, [(1, {"car": 0})], 10.0) is None


def test_counts_equal_the_summary(video: Video) -> None:
    assert runs.list_runs()
    line = timeline(video, {name: n for n, name in enumerate(video.counts, start=1)}, other=8)

    assert line is not None
    totals = [sum(column) for column in zip(*(found for _, found in line.rows), strict=True)]
    assert dict(zip((layer.name for layer in line.layers), totals, strict=True)) == video.counts
