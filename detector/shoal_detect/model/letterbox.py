"""Fits a frame into the model's input without changing its proportions, and takes boxes back to the frame."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

PADDING = np.float32(114 / 255)
"""The grey YOLOv5 was trained to see around a picture."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Where a frame of one size lies in the model's square input; all in pixels."""

    frame_width: int
    frame_height: int
    width: int
    """Of the scaled frame."""
    height: int
    left: int
    top: int
    size: int
    """Of the input."""


def fit(frame_width: int, frame_height: int, size: int, pixel_aspect: float = 1.0) -> Fit:
    """Scale the longer side to `size`, and centre the frame.

    `pixel_aspect` is the width of the frame's pixels by their height: the model sees things as broad as they are, boxes
    come back in the frame's own pixels.

    Always a square, although a model of open size would take less: the results then do not depend on how the weights
    were exported, and on the two photos of known content the tightest rectangle found less and saw a cup.
    """
    shown_width = frame_width * pixel_aspect
    scale = size / max(shown_width, frame_height)
    width, height = (max(1, round(side * scale)) for side in (shown_width, frame_height))
    return Fit(frame_width, frame_height, width, height, (size - width) // 2, (size - height) // 2, size)


def rgb(frame: av.VideoFrame, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The frame as RGB [height, width, 3], scaled by FFmpeg; one thread, so the same bytes every time.

    Scaled by area: it loses least of small things, and takes less time than FFmpeg's bilinear filter.
    """
    scaled = frame.reformat(width, height, "rgb24", interpolation="AREA", threads=1)
    return np.asarray(scaled.to_ndarray(), dtype=np.uint8)


def blob(frame: av.VideoFrame, place: Fit) -> FloatArray:
    """The model's input [1, 3, size, size], RGB from 0 to 1."""
    picture = rgb(frame, place.width, place.height)
    data = np.full((1, 3, place.size, place.size), PADDING, dtype=np.float32)
    inside = data[0, :, place.top : place.top + place.height, place.left : place.left + place.width]
    np.multiply(picture.transpose(2, 0, 1), np.float32(1 / 255), out=inside)
    return data


def to_frame(xyxy: FloatArray, place: Fit) -> FloatArray:
    """Boxes [n, 4] in pixels of the model's input as boxes in pixels of the frame, cut off at its borders."""
    offset = np.array([place.left, place.top] * 2, dtype=np.float32)
    scale = np.array([place.frame_width / place.width, place.frame_height / place.height] * 2, dtype=np.float32)
    border = np.array([place.frame_width, place.frame_height] * 2, dtype=np.float32)
    inside: FloatArray = np.clip((xyxy - offset) * scale, np.float32(0), border)
    return inside
