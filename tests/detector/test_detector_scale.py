"""Pictures are scaled bit for bit as OpenCV scales them for `detect.py`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from shoal_detect.model.letterbox import fit
from shoal_detect.model.reuse import cells_of, widened
from shoal_detect.model.scale import resized, sampled

CAMERAS = [
    *[(1920, 1080), (1280, 720), (3840, 2160), (2560, 1440), (2688, 1520), (2592, 1944), (3200, 1800), (7680, 4320)],
    *[(704, 576), (704, 480), (352, 288), (800, 600), (1280, 960), (640, 480), (1080, 1920), (1, 1), (3, 2000)],
]


def _noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _assert_as_opencv(width: int, height: int, to: tuple[int, int], seed: int = 1) -> None:
    picture = _noise(width, height, seed)
    expected = cv2.resize(picture, to, interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resized(picture, *to), expected, err_msg=f"{width} x {height} to {to}")


@pytest.mark.parametrize(("width", "height"), CAMERAS)
@pytest.mark.parametrize("size", [640, 160])
def test_the_sizes_of_cameras_are_scaled_as_opencv_scales(width: int, height: int, size: int) -> None:
    place = fit(width, height, size)
    _assert_as_opencv(width, height, (place.width, place.height))


def test_any_size_is_scaled_as_opencv_scales() -> None:
    random = np.random.default_rng(20261130)
    for seed in range(150):
        width, height, across, down = (int(one) for one in random.integers(1, 500, 4))
        _assert_as_opencv(width, height, (across, down), seed)


@pytest.mark.parametrize("factor", range(1, 13))
@pytest.mark.parametrize(("width", "height"), [(64, 36), (37, 53)])
def test_whole_factors_are_scaled_as_opencv_scales(factor: int, width: int, height: int) -> None:
    _assert_as_opencv(width * factor, height * factor, (width, height))
    _assert_as_opencv(width * factor, height * 2, (width, height))


def test_a_cell_is_the_mean_of_the_pixels_that_the_model_is_shown() -> None:
    random = np.random.default_rng(5)
    for width, height in ((640, 480), (1920, 1080), (1280, 720), (2688, 1520), (704, 576), (350, 290)):
        luma = random.integers(0, 256, (height, width), dtype=np.uint8)
        place = fit(width, height, 640)
        shown = sampled(luma, place.width, place.height)
        if (width, height) == (1920, 1080):
            np.testing.assert_array_equal(shown, luma[1::3, 1::3])
        canvas = np.zeros((place.input_height, place.input_width))
        canvas[place.top : place.top + place.height, place.left : place.left + place.width] = shown
        means = canvas.reshape(place.input_height // 4, 4, place.input_width // 4, 4).mean(axis=(1, 3))
        np.testing.assert_array_equal(cells_of(luma, place), np.floor(means + 0.5))


def test_blocks_are_widened_by_one_on_all_sides() -> None:
    blocks = np.random.default_rng(8).random((15, 20)) < 0.1
    expected = cv2.dilate(blocks.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    np.testing.assert_array_equal(widened(blocks), expected)
