"""Fits a frame into the model's input without changing its proportions, and takes boxes back to the frame."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt

from shoal_detect.settings import GRID

FloatArray = npt.NDArray[np.float32]

PADDING = np.float32(114 / 255)
"""The grey YOLOv5 was trained to see around a picture."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Where a frame of one size lies in the model's input; all in pixels."""

    frame_width: int
    frame_height: int
    width: int
    """Of the scaled frame."""
    height: int
    left: int
    top: int
    input_width: int
    input_height: int


def fit(frame_width: int, frame_height: int, size: int, *, rectangle: bool) -> Fit:
    """Scale the longer side to `size`, centred in a square, or in the smallest rectangle the model's grid allows."""
    scale = size / max(frame_width, frame_height)
    width, height = (max(1, round(side * scale)) for side in (frame_width, frame_height))
    input_width, input_height = (_up_to_grid(width), _up_to_grid(height)) if rectangle else (size, size)
    return Fit(
        frame_width=frame_width,
        frame_height=frame_height,
        width=width,
        height=height,
        left=(input_width - width) // 2,
        top=(input_height - height) // 2,
        input_width=input_width,
        input_height=input_height,
    )


def _up_to_grid(side: int) -> int:
    return -(-side // GRID) * GRID


def rgb(frame: av.VideoFrame, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The frame as RGB [height, width, 3], scaled by FFmpeg; one thread, so the same bytes every time."""
    scaled = frame.reformat(width, height, "rgb24", interpolation="BILINEAR", threads=1)
    return np.asarray(scaled.to_ndarray(), dtype=np.uint8)


def blob(frame: av.VideoFrame, place: Fit) -> FloatArray:
    """The model's input [1, 3, height, width], RGB from 0 to 1."""
    picture = rgb(frame, place.width, place.height)
    data = np.full((1, 3, place.input_height, place.input_width), PADDING, dtype=np.float32)
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
