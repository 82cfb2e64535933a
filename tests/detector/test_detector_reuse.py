"""What is said again where nothing changed: carried boxes, parts, whole frames, the audit, and the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shoal_detect import pipeline
from shoal_detect.errors import Exit
from shoal_detect.model import reuse
from shoal_detect.model.letterbox import fit
from shoal_detect.model.reuse import Memory, Part, cells_of, changed_blocks, cover, touching
from shoal_detect.read.videos import find_videos
from shoal_detect.run import run
from shoal_detect.state.settings import Settings
from shoal_detect.stop import Stop

from tests.detector import detector_making as making
from tests.detector.detector_making import MAGENTA, RED, Cells

MakeSettings = Callable[..., Settings]
WIDE, HIGH = 640, 480
PLACE = fit(WIDE, HIGH, WIDE)


def _cells(*bright: tuple[int, int, int, int], level: int = 50, step: int = 100) -> reuse.Cells:
    luma = np.full((HIGH, WIDE), level, np.uint8)
    for left, top, right, bottom in bright:
        luma[top:bottom, left:right] += np.uint8(step)
    return cells_of(luma, PLACE)


def _rows(*boxes: tuple[float, float, float, float], conf: float = 0.9) -> reuse.FloatArray:
    rows = np.zeros((len(boxes), 85), np.float32)
    for row, (left, top, right, bottom) in zip(rows, boxes, strict=True):
        row[:6] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top, conf, 1
    return rows


def _unasked(part: Part) -> reuse.FloatArray:
    raise AssertionError(f"the model was asked for {part}")


def _memory(cells: reuse.Cells, rows: reuse.FloatArray) -> Memory:
    memory = Memory(0.35)
    memory.whole(cells, rows)
    return memory


# --- what changed


def test_a_cameras_noise_is_no_change_and_a_small_thing_is() -> None:
    random = np.random.default_rng(3)
    noise = [np.clip(random.normal(80, 3, (HIGH, WIDE)), 0, 255).astype(np.uint8) for _ in range(2)]
    assert not changed_blocks(*(cells_of(one, PLACE) for one in noise)).any()
    noise[1][100:110, 200:206] += 40  # somebody far away
    assert changed_blocks(*(cells_of(one, PLACE) for one in noise)).any()


def test_what_changes_slowly_adds_up_until_it_is_seen() -> None:
    memory = _memory(_cells(), _rows((0, 0, 50, 50)))
    asked: list[Part] = []

    def infer(part: Part) -> reuse.FloatArray:
        asked.append(part)
        return _rows((310, 210, 330, 230))

    seen_at = []
    for number in range(1, 20):  # a step of luma a frame: no frame differs from the one before it by more
        known = memory.look(_cells((300, 200, 340, 240), step=number), infer)
        assert known is not None
        if known.new is not None and known.new.any():
            seen_at.append(number)
    assert seen_at[0] == reuse.CHANGED + 1
    assert len(seen_at) >= 2  # compared with the pixels that were seen last, not with the first ones


def test_a_frame_like_the_last_one_is_carried_and_the_model_is_not_asked() -> None:
    rows = _rows((100, 100, 150, 200), (400, 300, 450, 420))
    known = _memory(_cells(), rows).look(_cells(), _unasked)
    assert known is not None
    assert not known.whole
    np.testing.assert_array_equal(known.rows, rows)
    assert known.carried(reuse.corners(known.rows[:, :4])).tolist() == [True, True]


def test_where_a_little_changed_the_model_sees_an_aligned_part_and_the_rest_is_carried() -> None:
    memory = _memory(_cells(), _rows((20, 20, 60, 60), (300, 200, 340, 260)))
    asked: list[Part] = []

    def infer(part: Part) -> reuse.FloatArray:
        asked.append(part)
        return _rows((310, 200, 350, 260))

    known = memory.look(_cells((340, 200, 350, 260)), infer)
    assert known is not None
    (part,) = asked
    assert all(side % 32 == 0 for side in (part.left, part.top, part.right, part.bottom))
    assert part.left <= 320 - reuse.MARGIN
    assert part.right >= 352 + reuse.MARGIN
    assert part.area < 0.45 * WIDE * HIGH
    boxes = reuse.corners(known.rows[:, :4])
    assert boxes.tolist() == [[20, 20, 60, 60], [310, 200, 350, 260]]  # the one that moved stands once
    assert known.carried(boxes).tolist() == [True, False]
    again = memory.look(_cells((340, 200, 350, 260)), _unasked)
    assert again is not None
    assert again.carried(reuse.corners(again.rows[:, :4])).all()


def test_what_a_part_finds_beside_the_change_is_left_to_what_is_known() -> None:
    memory = _memory(_cells(), _rows())
    known = memory.look(_cells((320, 200, 330, 210)), lambda _: _rows((325, 205, 335, 215), (230, 110, 240, 120)))
    assert known is not None
    assert reuse.corners(known.rows[:, :4]).tolist() == [[325, 205, 335, 215]]


def test_a_box_at_the_border_of_a_part_asks_for_the_whole_frame() -> None:
    def at_the_border(part: Part) -> reuse.FloatArray:
        return _rows((part.left + 2, 200, 340, 260))

    assert _memory(_cells(), _rows()).look(_cells((320, 200, 330, 210)), at_the_border) is None

    def at_the_frames_border(part: Part) -> reuse.FloatArray:
        assert part.left == 0
        return _rows((0, 200, 20, 260))

    assert _memory(_cells(), _rows()).look(_cells((0, 200, 10, 210)), at_the_frames_border) is not None


@pytest.mark.parametrize(
    "cells",
    [
        _cells(level=90),  # the light is switched on
        _cells((0, 0, 640, 300)),  # a cut
        cells_of(np.tile(np.arange(WIDE, dtype=np.uint8) * 40, (HIGH, 1)), PLACE),  # another place
    ],
)
def test_a_light_switch_and_a_cut_ask_for_the_whole_frame(cells: reuse.Cells) -> None:
    assert _memory(_cells(), _rows((0, 0, 9, 9))).look(cells, _unasked) is None


def test_a_camera_that_moves_asks_for_the_whole_frame() -> None:
    random = np.random.default_rng(1)
    scene = random.integers(0, 255, (HIGH // 8, WIDE // 8), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    memory = _memory(cells_of(scene, PLACE), _rows())
    assert memory.look(cells_of(np.roll(scene, 5, axis=1), PLACE), _unasked) is None


def test_the_whole_frame_is_seen_every_so_often_and_after_a_change_of_size() -> None:
    memory = _memory(_cells(), _rows())
    assert all(memory.look(_cells(), _unasked) is not None for _ in range(reuse.FULL_EVERY - 1))
    assert memory.look(_cells(), _unasked) is None
    other = fit(WIDE, 320, WIDE)
    assert _memory(_cells(), _rows()).look(cells_of(np.zeros((320, WIDE), np.uint8), other), _unasked) is None


def test_parts_do_not_overlap_and_hold_what_they_are_for() -> None:
    core = np.zeros((15, 20), np.bool_)
    core[2, 2] = core[2, 5] = core[12, 18] = True
    parts = cover(core, np.array([[500, 100, 560, 140]], np.float32), WIDE, HIGH)
    assert not any(one.touches(other) for one in parts for other in parts if one is not other)
    covered = np.zeros((HIGH, WIDE), np.bool_)
    for part in parts:
        covered[part.top : part.bottom, part.left : part.right] = True
    assert covered[core.repeat(32, axis=0).repeat(32, axis=1)].all()
    assert covered[100:140, 500:560].all()


def test_boxes_touch_the_blocks_they_lie_in_and_no_others() -> None:
    core = np.zeros((15, 20), np.bool_)
    core[3, 4] = True
    boxes = np.array(
        [[128, 96, 130, 98], [100, 90, 127.9, 95], [159, 127, 200, 200], [160, 96, 170, 100], [-9, -9, -1, -1]]
    )
    assert touching(boxes.astype(np.float32), core).tolist() == [True, False, True, False, False]


# --- whole runs


def _steady(frames: int, *, moving: bool = False) -> list[np.ndarray]:
    """A person and a car that stand in a wide dark place; with `moving` another person goes to and fro."""
    pictures = []
    for number in range(frames):
        cells: Cells = {(1, 1): RED, (18, 12): MAGENTA}
        if moving:
            cells[(9 + number // 3 % 3, 6)] = RED
        pictures.append(making.picture(cells, WIDE, HIGH))
    return pictures


def _lines(state: Path) -> list[dict[str, Any]]:
    (path,) = state.glob("videos/*/detections.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _without_marks(lines: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(one["frame"], one["class"]) for one in lines]


@pytest.mark.parametrize("moving", [False, True])
def test_a_run_with_reuse_finds_the_same_at_a_fraction_of_the_work_and_says_so(
    videos: Path, tmp_path: Path, settings: MakeSettings, moving: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    making.write_video(videos / "a.avi", _steady(60, moving=moving))
    exact, reused = tmp_path / "exact", tmp_path / "reused"
    assert run(settings("--img", "640", "--state", str(exact)), Stop()) is Exit.DONE
    assert run(settings("--img", "640", "--state", str(reused), "--reuse", "on"), Stop()) is Exit.DONE
    assert _without_marks(_lines(reused)) == _without_marks(_lines(exact))
    assert not any("carried" in line for line in _lines(exact))
    marked = [line for line in _lines(reused) if line.get("carried")]
    assert len(marked) > 0.8 * 2 * 60
    summary = making.document(reused / "summary.json")
    (video,) = summary["videos"]
    assert summary["settings"]["reuse"] == "on"
    assert video["frames_inferred"] + video["reuse"]["frames_in_part"] + video["reuse"]["frames_carried"] == 60
    assert video["frames_inferred"] <= 3
    assert (video["reuse"]["frames_in_part"] > 10) is moving
    assert summary["reuse"]["frames_carried"] == video["reuse"]["frames_carried"] > 20
    assert making.document(exact / "summary.json")["reuse"] is None
    again = tmp_path / "again"
    assert run(settings("--img", "640", "--state", str(again), "--reuse", "on"), Stop()) is Exit.DONE
    assert _lines(again) == _lines(reused)


def test_a_segment_whose_audit_fails_is_done_again_without_reuse(
    videos: Path, state: Path, settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making.write_video(videos / "a.avi", _steady(25))
    video_id = find_videos(str(videos)).videos[0].video_id
    folder = tmp_path / "spoilt"
    folder.mkdir()
    # What is carried has lost the person; every fifth frame is audited.
    (folder / "sitecustomize.py").write_text(
        """
import sys
if "-m" in sys.orig_argv and "shoal_detect.child" in sys.orig_argv:
    from shoal_detect.model import reuse
    from shoal_detect.state import segments
    reuse.AUDIT_EVERY, segments.LENGTH = 5, 20
    look = reuse.Memory.look
    def spoilt(self, cells, infer):
        known = look(self, cells, infer)
        if known is None:
            return None
        return reuse.Known(known.rows[known.rows[:, 5] < 0.5], known.new)
    reuse.Memory.look = spoilt
"""
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(reuse, "AUDIT_EVERY", 5)
    audited = [frame for frame in range(1, 20) if reuse.drawn(video_id, frame)]
    assert audited
    assert run(settings("--img", "640", "--reuse", "on"), Stop()) is Exit.DONE
    (video,) = making.document(state / "summary.json")["videos"]
    assert video["reuse"]["segments_redone"] >= 1
    persons = [line["frame"] for line in _lines(state) if line["class"] == "person"]
    assert persons[:20] == list(range(20))  # the first segment is exact
    assert not any(line.get("carried") for line in _lines(state) if line["frame"] < 20)


def test_the_audit_holds_what_was_about_to_be_written_against_the_whole_model(
    videos: Path, state: Path, settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making.write_video(videos / "a.avi", _steady(60))
    video_id = find_videos(str(videos)).videos[0].video_id
    folder = tmp_path / "often"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        """
import sys
if "-m" in sys.orig_argv and "shoal_detect.child" in sys.orig_argv:
    from shoal_detect.model import reuse
    reuse.AUDIT_EVERY = 7
"""
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(reuse, "AUDIT_EVERY", 7)
    audited = [frame for frame in range(1, 60) if reuse.drawn(video_id, frame)]
    assert run(settings("--img", "640", "--reuse", "on"), Stop()) is Exit.DONE
    (video,) = making.document(state / "summary.json")["videos"]
    assert video["reuse"]["audited_frames"] == len(audited) > 3
    assert video["frames_inferred"] == len(audited) + 1
    assert video["reuse"]["audited"]["expected"] == 2 * len(audited)
    assert video["reuse"]["audited_f1"] == 1.0
    assert not any(line.get("carried") for line in _lines(state) if line["frame"] in audited)
    assert pipeline.LEAST_AUDITED == 0.98
