"""The benchmark's measure on cases that a person can count."""

from __future__ import annotations

import pytest

from benchmarks.score import Count, Detection, overlap, score

BOX = (0.0, 0.0, 10.0, 10.0)


def one(frame: int = 0, class_id: int = 0, confidence: float = 0.9, box: tuple[float, ...] = BOX) -> Detection:
    return Detection(frame, class_id, confidence, (box[0], box[1], box[2], box[3]))


def counted(found: list[Detection], expected: list[Detection], iou: float = 0.5) -> tuple[int, int, int]:
    total = score({"a": found}, {"a": expected}, iou=iou).total
    return total.matched, total.found, total.expected


def test_the_same_boxes_agree() -> None:
    boxes = [one(frame) for frame in range(3)]
    assert score({"a": boxes}, {"a": boxes}).total.f1 == 1.0


def test_another_class_or_frame_is_another_thing() -> None:
    assert counted([one(class_id=1)], [one(class_id=2)]) == (0, 1, 1)
    assert counted([one(frame=1)], [one(frame=2)]) == (0, 1, 1)


def test_a_reference_box_is_matched_once() -> None:
    assert counted([one(), one(confidence=0.5)], [one()]) == (1, 2, 1)


def test_the_most_confident_chooses_first() -> None:
    left, right = (0.0, 0.0, 10.0, 10.0), (4.0, 0.0, 14.0, 10.0)
    between = (1.0, 0.0, 11.0, 10.0)
    found = [one(box=between, confidence=0.9), one(box=left, confidence=0.4)]
    assert counted(found, [one(box=left), one(box=right)]) == (1, 2, 2)


def test_the_overlap_decides_at_its_threshold() -> None:
    half = (0.0, 0.0, 10.0, 5.0)
    assert overlap(BOX, half) == 0.5
    assert counted([one(box=half)], [one()]) == (1, 1, 1)
    assert counted([one(box=half)], [one()], iou=0.51) == (0, 1, 1)


def test_boxes_that_touch_do_not_overlap() -> None:
    assert overlap(BOX, (10.0, 0.0, 20.0, 10.0)) == 0.0


def test_f1_is_over_all_boxes_and_not_a_mean_of_clips() -> None:
    many = [one(frame) for frame in range(9)]
    result = score({"a": many, "b": []}, {"a": many, "b": [one()]})
    assert result.total.f1 == pytest.approx(18 / 19)
    assert result.worst_clip() == ("b", 0.0)


def test_the_worst_class_needs_enough_boxes() -> None:
    frequent, rare = [one(frame) for frame in range(200)], [one(class_id=7)]
    result = score({"a": frequent[1:]}, {"a": [*frequent, *rare]})
    assert result.worst_class() == (0, pytest.approx(398 / 399))
    assert result.worst_class(201) is None


def test_nothing_on_both_sides_is_no_disagreement() -> None:
    assert Count().f1 == 1.0


def test_clips_of_one_side_only_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="not the same clips"):
        score({"a": []}, {"b": []})
