"""The detector's small parts: classes, CPUs, names, fitting, suppression, key frames, pictures, progress."""

from __future__ import annotations

import io
import os
import string
import time
from collections.abc import Generator
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shoal_detect import cpus, progress
from shoal_detect.model import nms
from shoal_detect.model.classes import NAMES, parse
from shoal_detect.model.letterbox import Fitter, fit, to_frame
from shoal_detect.pictures import annotate, font
from shoal_detect.pictures.annotate import Label
from shoal_detect.pictures.key_frames import Found, KeyFrame, KeyFrames, gap_s, offer
from shoal_detect.read.decode import Frame
from shoal_detect.read.prefetch import prefetch
from shoal_detect.read.videos import display_name, find_videos, video_id
from shoal_detect.state.summary import Tally

from tests.detector import detector_making as making

# --- classes


def test_there_are_the_80_coco_classes() -> None:
    assert len(NAMES) == len(set(NAMES)) == 80
    assert (NAMES[0], NAMES[2], NAMES[5], NAMES[79]) == ("person", "car", "bus", "toothbrush")


def test_classes_are_given_by_name_or_id_in_any_order_and_split_by_commas() -> None:
    assert parse(["Truck, car", "0", "traffic light", "traffic_light", "2"]) == ([0, 2, 7, 9], [])


def test_unknown_classes_are_all_named_with_the_nearest_ones() -> None:
    ids, faults = parse(["persn", "car", "80", "zzzz"])
    assert ids == [2]
    assert "'persn'; did you mean person" in faults[0]
    assert "80; ids go from 0 to 79" in faults[1]
    assert "'zzzz'; the 80 COCO names are: person, bicycle" in faults[2]


# --- CPUs


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "groups", "expected"),
    [
        ({}, "0::/", None),
        ({"cpu.max": "max 100000\n"}, "0::/", None),
        ({"cpu.max": "150000 100000\n"}, "0::/", 1.5),
        ({"a/cpu.max": "400000 100000\n", "cpu.max": "200000 100000\n"}, "0::/a", 2.0),
        ({"a/cpu.max": "50000 100000\n", "cpu.max": "200000 100000\n"}, "0::/a/b", 0.5),
        ({"cpu.max": "300000 100000\n"}, "0::/docker/of/the/host", 3.0),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/", 2.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/", None),
        (
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"},
            "9:name=systemd:/x\n4:cpu,cpuacct:/x",
            1.0,
        ),
    ],
)
def test_the_tightest_quota_of_both_kinds_of_control_groups_counts(
    tmp_path: Path, files: dict[str, str], groups: str, expected: float | None
) -> None:
    for name, text in files.items():
        _write(tmp_path / "cgroup" / name, text)
    _write(tmp_path / "self/cgroup", groups + "\n")
    assert cpus.quota_cpus(tmp_path / "cgroup", tmp_path / "self") == expected
    threads = cpus.available_cpus(tmp_path / "cgroup", tmp_path / "self")
    allowed = len(os.sched_getaffinity(0))
    assert threads == (allowed if expected is None else max(1, min(allowed, int(expected))))


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert cpus.available_cpus(tmp_path, tmp_path) == len(os.sched_getaffinity(0))


# --- finding videos


def test_videos_are_found_at_any_depth_by_extension_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/z.mkv", "a b.avi", "notes.txt", "mp4", ".hidden.mp4", ".trash/c.mp4", "é.webm"):
        _write(tmp_path / name, "x")
    found = find_videos(str(tmp_path))
    assert [video.name for video in found.videos] == ["a b.avi", "a/z.mkv", "b.MP4", "é.webm"]
    assert found.hidden == 2
    assert all(video.size_bytes == 1 and video.problem is None for video in found.videos)


def test_names_that_are_not_utf8_keep_apart_and_are_valid_unicode(tmp_path: Path) -> None:
    for name in (b"cam\xff.mp4", rb"cam\xff.mp4", b'quo"te\n.mp4'):
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    videos = find_videos(str(tmp_path)).videos
    assert len({video.video_id for video in videos}) == 3
    for video in videos:
        video.name.encode("utf-8")
        assert Path(video.path).exists()


def test_what_cannot_be_opened_is_listed_with_its_problem(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.mp4")
    problems = {video.name: video.problem for video in find_videos(str(tmp_path)).videos}
    assert problems == {
        "gone.mp4": "cannot be opened: No such file or directory",
        "pipe.mp4": "is not a regular file",
    }


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    _write(tmp_path / "elsewhere/cam.mp4", "x")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "disk").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/loop").symlink_to(folder)
    assert [video.name for video in find_videos(str(folder)).videos] == ["disk/cam.mp4"]


@given(st.binary(min_size=1, max_size=80).filter(lambda name: b"\0" not in name))
def test_video_ids_are_safe_folder_names(name: bytes) -> None:
    slug, _, digest = video_id(name).rpartition("-")
    assert 1 <= len(slug) <= 40
    assert set(slug) <= set(string.ascii_lowercase + string.digits + "-")
    assert len(digest) == 8
    display_name(name).encode("utf-8")


def test_a_video_id_is_the_slug_and_the_hash_of_the_relative_path() -> None:
    assert video_id("Höfe/cam 03.mp4".encode()).startswith("hofe-cam-03-mp4-")


# --- fitting frames and boxes

SIDES = st.integers(min_value=1, max_value=5000)
SIZES = st.sampled_from([32, 320, 640, 1280])


@given(SIDES, SIDES, SIZES)
def test_a_frame_fits_into_the_input_and_keeps_its_proportions(width: int, height: int, size: int) -> None:
    place = fit(width, height, size)
    assert max(place.width, place.height) == size
    assert abs(place.width / size * max(width, height) - width) <= max(1.0, max(width, height) / size)
    assert place.input_width % 32 == place.input_height % 32 == 0
    assert max(place.input_width, place.input_height) == size
    for whole, part, edge in (
        (place.input_width, place.width, place.left),
        (place.input_height, place.height, place.top),
    ):
        assert 0 <= whole - part < 32
        assert 0 <= whole - part - 2 * edge <= 1


@pytest.mark.parametrize(
    ("frame", "scaled", "whole"),
    [
        ((1280, 720), (640, 360), (640, 384)),  # what YOLOv5's own letterbox gives
        ((640, 480), (640, 480), (640, 480)),
        ((1080, 1920), (360, 640), (384, 640)),
        ((1000, 1000), (640, 640), (640, 640)),
        ((100, 3), (640, 19), (640, 32)),
    ],
)
def test_the_least_rectangle_is_the_references(
    frame: tuple[int, int], scaled: tuple[int, int], whole: tuple[int, int]
) -> None:
    place = fit(*frame, 640)
    assert (place.width, place.height) == scaled
    assert (place.input_width, place.input_height) == whole


def test_weights_of_one_size_get_their_square() -> None:
    place = fit(1280, 720, 640, square=True)
    assert (place.input_width, place.input_height, place.top) == (640, 640, 140)


@given(
    st.integers(16, 4000), st.integers(16, 4000), SIZES,
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
)  # fmt: skip
def test_boxes_come_back_to_where_they_were(width: int, height: int, size: int, shares: list[float]) -> None:
    place = fit(width, height, size)
    box = np.array([shares], np.float32) * np.array([width, height, width, height], np.float32)
    scale = np.array([place.width / width, place.height / height] * 2)
    offset = np.array([place.left, place.top] * 2)
    back = to_frame((box * scale + offset).astype(np.float32), place)
    # As in the reference, the way back has no rounding to whole pixels of the input, which is one of them at most.
    assert np.allclose(back, box, atol=1.01 * max(width, height) / size + 0.01)


def test_boxes_are_cut_off_at_the_border_of_the_frame() -> None:
    place = fit(100, 50, 64)
    assert to_frame(np.array([[-50, -50, 900, 900]], np.float32), place).tolist() == [[0, 0, 100, 50]]


def test_the_model_sees_rgb_between_grey_borders() -> None:
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:] = (255, 0, 128)
    place = fit(64, 32, 64, square=True)
    data = Fitter().blob(av.VideoFrame.from_ndarray(pixels, format="rgb24"), place)
    assert data.shape == (1, 3, 64, 64)
    assert data.dtype == np.float32
    assert np.allclose(data[0, :, 32, 10], [1, 0, 128 / 255], atol=0.01)
    assert np.allclose(data[0, :, :16], 114 / 255)
    assert np.allclose(data[0, :, 48:], 114 / 255)


# --- confidence, classes and suppression


def _row(x: float, y: float, w: float, h: float, objectness: float, **scores: float) -> list[float]:
    row = [x, y, w, h, objectness, *[0.0] * 80]
    for name, score in scores.items():
        row[5 + NAMES.index(name)] = score
    return row


def _select(rows: list[list[float]], **knobs: object) -> nms.Boxes:
    given: dict[str, object] = {"conf": 0.25, "iou": 0.45, "classes": None, "max_detections": 300, **knobs}
    return nms.select(np.array(rows, np.float32).reshape(-1, 85), **given)  # type: ignore[arg-type]


def test_confidence_is_the_product_and_the_best_class_wins() -> None:
    boxes = _select([_row(50, 40, 20, 10, 0.8, person=0.5, car=0.9)])
    assert boxes.class_id.tolist() == [2]
    assert boxes.confidence[0] == pytest.approx(0.72)
    assert boxes.xyxy.tolist() == [[40, 35, 60, 45]]
    assert len(_select([_row(50, 40, 20, 10, 0.8, car=0.3)])) == 0


def test_doubles_go_within_a_class_but_not_between_classes() -> None:
    rows = [
        _row(50, 50, 20, 20, 0.6, person=1),
        _row(51, 50, 20, 20, 0.9, person=1),
        _row(50, 50, 20, 20, 0.7, car=1),
        _row(150, 50, 20, 20, 0.5, person=1),
    ]
    boxes = _select(rows)
    assert boxes.class_id.tolist() == [0, 2, 0]
    assert boxes.confidence.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert _select(rows, classes=(2,)).class_id.tolist() == [2]
    assert len(_select(rows, max_detections=1)) == 1


def test_boxes_without_sense_are_dropped() -> None:
    nan, infinity = float("nan"), float("inf")
    rows = [
        _row(nan, 5, 5, 5, 0.9, car=1), _row(5, 5, infinity, 5, 0.9, car=1), _row(5, 5, 0, 5, 0.9, car=1),
        _row(5, 5, 5, 5, nan, car=1),
    ]  # fmt: skip
    assert len(_select(rows)) == 0
    assert len(_select([])) == 0


def _plain_suppress(xyxy: np.ndarray, class_id: np.ndarray, iou: float, limit: int) -> list[int]:
    """The textbook's loop over all pairs."""
    kept: list[int] = []
    for i, (left, top, right, bottom) in enumerate(xyxy.tolist()):
        for j in kept:
            other = xyxy[j].tolist()
            width = max(0.0, min(right, other[2]) - max(left, other[0]))
            height = max(0.0, min(bottom, other[3]) - max(top, other[1]))
            union = (right - left) * (bottom - top) + (other[2] - other[0]) * (other[3] - other[1]) - width * height
            if class_id[i] == class_id[j] and width * height / union > iou:
                break
        else:
            kept.append(i)
    return kept[:limit]


# Whole numbers and a threshold that no ratio of them hits keep rounding out of the comparison.
BOX = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2))


@given(st.lists(BOX, max_size=40), st.sampled_from([0.0, 0.4501, 0.9001]), st.integers(1, 20))
def test_suppression_equals_the_plain_loop(boxes: list[tuple[int, int, int, int, int]], iou: float, limit: int) -> None:
    xyxy = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in boxes], np.float32).reshape(-1, 4)
    class_id = np.array([box[4] for box in boxes], np.int64)
    assert nms.suppress(xyxy, class_id, iou, limit).tolist() == _plain_suppress(xyxy, class_id, iou, limit)


# --- key frames


def _frame(index: int) -> Frame:
    pixels = np.full((90, 120, 3), 40, np.uint8)
    return Frame(index, index / 10, av.VideoFrame.from_ndarray(pixels, format="rgb24"))


def _found(confidence: float) -> Found:
    return Found(0, "person", confidence, (10.0, 20.0, 60.0, 80.0))


def _choice(limit: int, duration_s: float | None) -> KeyFrames[KeyFrame]:
    return KeyFrames(limit, gap_s(limit, duration_s))


def _offer(choice: KeyFrames[KeyFrame], scores: dict[int, float]) -> list[int]:
    for index, score in scores.items():
        offer(choice, _frame(index), [_found(score)] if score else [])
    return [one.index for one in choice.chosen]


def test_key_frames_are_the_best_ones_a_while_apart() -> None:
    scores = {0: 0.5, 3: 0.9, 6: 0.8, 30: 0.4, 60: 0.6, 90: 0.7}
    assert _offer(_choice(3, 10.0), scores) == [3, 60, 90]
    assert _offer(_choice(2, 10.0), scores) == [3, 90]
    assert _offer(_choice(0, 10.0), scores) == []


def test_where_nothing_is_found_no_picture_is_kept() -> None:
    assert _offer(_choice(3, 10.0), {0: 0, 5: 0, 50: 0}) == []
    assert _offer(_choice(3, 10.0), {0: 0, 5: 0, 50: 0.4}) == [50]


def test_large_key_frames_are_scaled_down_with_their_boxes() -> None:
    image = av.VideoFrame.from_ndarray(np.zeros((1080, 1920, 3), np.uint8), format="rgb24")
    choice = _choice(1, None)
    offer(choice, Frame(0, 0.0, image), [Found(2, "car", 0.5, (192.0, 108.0, 960.0, 540.0))])
    assert choice.chosen[0].picture.shape == (540, 960, 3)
    assert choice.chosen[0].labels[0].box == (96.0, 54.0, 480.0, 270.0)


# --- pictures


def test_every_class_name_can_be_written() -> None:
    unknown = font.text_mask("?", 1).tolist()
    for character in {*"".join(NAMES), *string.digits, "."} - {" "}:
        mask = font.text_mask(character, 1)
        assert mask.any()
        assert mask.tolist() != unknown, character
    assert font.text_mask("ab", 2).shape == (14, 26)


@given(
    st.integers(1, 60), st.integers(1, 60),
    st.lists(st.floats(0, 1, allow_nan=False), min_size=4, max_size=4), st.integers(0, 79),
)  # fmt: skip
def test_drawing_stays_inside_pictures_of_any_size(width: int, height: int, shares: list[float], class_id: int) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    left, right = sorted((shares[0] * width, shares[2] * width))
    top, bottom = sorted((shares[1] * height, shares[3] * height))
    annotate.draw(picture, [Label(class_id, f"{NAMES[class_id]} 0.50", (left, top, right, bottom))])
    assert picture.any()


def test_a_box_is_drawn_where_it_is_and_the_jpeg_shows_it() -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    annotate.draw(picture, [Label(0, "person 0.90", (100, 80, 180, 160))])
    assert picture[120, 100].tolist() == picture[120, 179].tolist() == picture[159, 140].tolist() != [0, 0, 0]
    assert picture[120, 140].tolist() == [0, 0, 0]
    data = annotate.encode_jpeg(picture)
    assert data == annotate.encode_jpeg(picture)
    with av.open(io.BytesIO(data), "r") as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert shown.shape == picture.shape
    assert np.abs(shown.astype(int) - picture).mean() < 6


# --- counting


def test_a_tally_counts_classes_frames_and_seconds() -> None:
    tally = Tally()
    person, car = Found(0, "person", 0.5, (0, 0, 1, 1)), Found(2, "car", 0.5, (0, 0, 1, 1))
    for time_s, found in ((0.0, [person, person]), (0.9, [person, car]), (1.0, []), (2.5, [car])):
        tally.add(time_s, found)
    assert (tally.frames_inferred, tally.detections) == (4, 5)
    assert tally.counts == {0: 3, 2: 2}
    assert tally.frames_with == {0: 2, 2: 2}
    assert tally.seconds == {0: {0: 3, 2: 1}, 2: {2: 1}}


# --- progress


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cam 03.mp4", '"cam 03.mp4"'),
        ('a"b\\c.mp4', r'"a\"b\\c.mp4"'),
        ("a\nb\x1b[31m\x9b\u202e.mp4", r'"a\nb\u001b[31m\u009b\u202e.mp4"'),
        ("höfe 日本.mp4", '"höfe 日本.mp4"'),
        ("\U000e0001.mp4", r'"\U000e0001.mp4"'),
    ],
)
def test_names_stay_on_one_line_and_cannot_steer_the_terminal(name: str, expected: str) -> None:
    assert progress.quoted(name) == expected


def test_progress_is_said_at_most_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    running = progress.VideoProgress(2, 6, "cam03.mp4", 1000, 300)
    running.tick(10, 1)
    assert capsys.readouterr().out == ""
    running.started -= 10
    running._last -= 1
    running.tick(120, 37)
    running.tick(121, 38)
    (line,) = making.events(capsys.readouterr().out)
    assert 10 < line.pop("frames_per_s") < 13
    assert line == {
        "event": "frames", "number": 2, "videos": 6, "video": "cam03.mp4", "size_bytes": 1000,
        "frame": 120, "frames": 300, "detections": 37,
    }  # fmt: skip


def test_whatever_a_video_is_called_a_line_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    progress.VideoProgress(1, 1, "a\nb\x1b[31m\u2028\udcff.mp4", 1).done(1, 0, 0)
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("\n") == 1


# --- prefetching


def test_prefetching_keeps_order_and_hands_over_errors() -> None:
    def items() -> Generator[int, None, None]:
        yield from range(5)
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for item in prefetch(items(), 2):
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]


def test_closing_a_prefetch_closes_its_source() -> None:
    closed = []

    def items() -> Generator[int, None, None]:
        try:
            yield from range(1_000_000)
        finally:
            closed.append(True)

    ahead = prefetch(items(), 2)
    assert next(ahead) == 0
    started = time.monotonic()
    ahead.close()
    assert closed == [True]
    assert time.monotonic() - started < 5
