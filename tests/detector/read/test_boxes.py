"""Boxes lie where a person sees the thing in the recording as it is shown, on every frame of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shoal_detect.errors import Exit
from shoal_detect.run import run
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

from tests.detector import detector_making as making
from tests.detector.read import corpus

FRAMES = 12
UPPER_LEFT = (0.0, 0.0, 32.0, 32.0)
THING = [making.picture({(0, 0): making.RED}, 128, 96)] * FRAMES
SMALL = [making.picture({(1, 0): making.RED}, 64, 64)] * FRAMES

Box = tuple[float, float, float, float]
Make = Callable[[Path], object]


def _film(name: str, **more: object) -> Make:
    return lambda folder: making.write_video(folder / name, THING, **more)  # type: ignore[arg-type]


def _turned(*matrix: int) -> Make:
    def make(folder: Path) -> None:
        making.write_video(folder / "phone.mp4", THING, codec="libx264")
        corpus.with_matrix(folder / "phone.mp4", *matrix)

    return make


def _appended(name: str) -> Make:
    def make(folder: Path) -> None:
        making.write_video(folder / "one.tmp", THING, codec="libx264", muxer=name)
        making.write_video(folder / "two.tmp", SMALL, codec="libx264", muxer=name)
        corpus.joined(folder / f"both.{name}", folder / "one.tmp", folder / "two.tmp")
        (folder / "one.tmp").unlink()
        (folder / "two.tmp").unlink()

    return make


CASES: dict[str, tuple[Make, list[Box]]] = {
    "avi": (_film("a.avi"), [UPPER_LEFT] * FRAMES),
    "mp4": (_film("a.mp4", codec="libx264"), [UPPER_LEFT] * FRAMES),
    "webm": (_film("a.webm", codec="libvpx"), [UPPER_LEFT] * FRAMES),
    "without an extension": (_film("recording", codec="libx264", muxer="matroska"), [UPPER_LEFT] * FRAMES),
    "turned by 90": (_turned(0, 1, -1, 0), [(64.0, 0.0, 96.0, 32.0)] * FRAMES),
    "turned by 180": (_turned(-1, 0, 0, -1), [(96.0, 64.0, 128.0, 96.0)] * FRAMES),
    "turned by 270": (_turned(0, -1, 1, 0), [(0.0, 96.0, 32.0, 128.0)] * FRAMES),
    "mirrored": (_turned(-1, 0, 0, 1), [(96.0, 0.0, 128.0, 32.0)] * FRAMES),
    # Scaled to 128 pixels, the square of the small film is four squares of the model.
    "two mp4 in one, of other sizes": (
        _appended("mp4"),
        [UPPER_LEFT] * FRAMES + [(32.0 + x, y, 48.0 + x, 16.0 + y) for x in (0.0, 16.0) for y in (0.0, 16.0)] * FRAMES,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_boxes_are_those_of_the_picture_as_it_is_shown(
    videos: Path, state: Path, settings: Callable[..., Settings], name: str
) -> None:
    make, boxes = CASES[name]
    make(videos)
    assert run(settings("--img", "128"), Stop()) is Exit.DONE
    (content,) = making.detections(state).values()
    lines = [json.loads(line) for line in content.splitlines()]
    seen = np.array(sorted(line["box"] for line in lines))
    np.testing.assert_allclose(seen, np.array(sorted(boxes)), atol=1.0)
    assert {line["frame"] for line in lines} == set(range(FRAMES * (2 if len(boxes) > FRAMES else 1)))
