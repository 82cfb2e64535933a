"""Scales pictures bit for bit as `cv2.resize` with INTER_LINEAR does, which is how `detect.py` scales them.

OpenCV computes in whole numbers of 1/2048 (`modules/imgproc/src/resize.cpp`: HResizeLinear, VResizeLinear, and for a
half ResizeAreaFast), so the same can be had without its 150 MB; a test holds both together over many sizes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]

ONE = 2048
"""INTER_RESIZE_COEF_SCALE."""
ROWS_AT_ONCE = 64
"""What is in hand at a time stays in the processor's cache."""


def resized(picture: Picture, width: int, height: int) -> Picture:
    """The picture [any height, any width, 3] scaled to `width` and `height`; it may share the given one's memory."""
    given_height, given_width = picture.shape[:2]
    if (given_width, given_height) == (width, height):
        return picture
    factor = given_width // width
    if (given_width, given_height) == (factor * width, factor * height):
        return _by_whole_factor(picture, factor)
    left, right, left_weight, right_weight = _taps(given_width, width, clamped=True)
    above, below, above_weight, below_weight = _taps(given_height, height, clamped=False)
    left, right = (_of_channels(one) for one in (left, right))
    left_weight, right_weight = np.repeat(left_weight, 3), np.repeat(right_weight, 3)
    lines = picture.reshape(given_height, given_width * 3)
    scaled = np.empty((height, width * 3), np.uint8)
    for first in range(0, height, ROWS_AT_ONCE):
        now = slice(first, first + ROWS_AT_ONCE)
        needed, place = np.unique(np.concatenate([above[now], below[now]]), return_inverse=True)
        source = lines[needed]
        across = source.take(left, axis=1) * left_weight
        across += source.take(right, axis=1) * right_weight
        across >>= 4
        upper, lower = np.split(across[place], 2)
        # Each is cut off to whole numbers before they are added up, as the original does.
        upper *= above_weight[now, None]
        upper >>= 16
        lower *= below_weight[now, None]
        lower >>= 16
        upper += lower
        upper += 2
        upper >>= 2
        scaled[now] = upper
    return scaled.reshape(height, width, 3)


def sampled(luma: Picture, width: int, height: int) -> Picture:
    """The pixels of a plane [any height, any width] that are nearest to those which `resized` looks at."""
    given_height, given_width = luma.shape
    if (given_width, given_height) == (width, height):
        return luma
    down, across = (
        ((np.arange(scaled) + 0.5) * given / scaled).astype(np.int64)
        for given, scaled in ((given_height, height), (given_width, width))
    )
    return np.asarray(luma[down].take(across, axis=1), dtype=np.uint8)


def _by_whole_factor(picture: Picture, factor: int) -> Picture:
    """An odd one leaves the middle pixel of each square, an even one the mean of the four in its middle."""
    middle = (factor - 1) // 2
    if factor % 2:
        return picture[middle::factor, middle::factor]
    rows = np.add(picture[middle::factor], picture[middle + 1 :: factor], dtype=np.uint16)
    means = rows[:, middle::factor] + rows[:, middle + 1 :: factor]
    means += 2
    means >>= 2
    return means.astype(np.uint8)


def _taps(given: int, scaled: int, *, clamped: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Ints, Ints]:
    """For every place on a scaled axis: the two places on the given one, and the weight of each.

    Beyond the border the first pixel counts alone if `clamped` (OpenCV's columns), else as both (its rows).
    """
    at = ((np.arange(scaled) + 0.5) * (1 / (scaled / given)) - 0.5).astype(np.float32)
    first = np.floor(at).astype(np.int64)
    part = (at - first).astype(np.float32)
    if clamped:
        part[(first < 0) | (first >= given - 1)] = 0
    weights = (np.rint(one * np.float32(ONE)).astype(np.int32) for one in (np.float32(1) - part, part))
    return (first.clip(0, given - 1), (first + 1).clip(0, given - 1), *weights)


def _of_channels(columns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return (columns[:, None] * 3 + np.arange(3)).ravel()
