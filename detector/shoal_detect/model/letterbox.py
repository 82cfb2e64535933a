"""Fits a frame into the model's input as YOLOv5's `detect.py` does, and takes boxes back to the frame.

The reference is `letterbox` and `scale_boxes` of YOLOv5 v7.0 (`utils/augmentations.py`, `utils/general.py`): the same
pixels reach the model, so that it finds the same things.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from shoal_detect.model.scale import resized
from shoal_detect.model.stride import GRID

FloatArray = npt.NDArray[np.float32]

PADDING = np.float32(114 / 255)
"""The grey YOLOv5 was trained to see around a picture."""

LUMA_FIRST = frozenset(
    ["yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "nv21", "gray", "yuv411p", "yuv410p"]
)
"""Pixel formats whose first plane is luma of 8 bits."""


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
    pixel_aspect: float = 1.0
    """Width of the frame's pixels by their height."""


def fit(frame_width: int, frame_height: int, size: int, pixel_aspect: float = 1.0, *, square: bool = False) -> Fit:
    """Scale the longer side to `size`, and centre the frame in the least rectangle of whole strides.

    `pixel_aspect` is the width of the frame's pixels by their height: the model sees things as broad as they are, boxes
    come back in the frame's own pixels. (OpenCV, and so detect.py, takes every pixel for square.) With `square` in a
    square of `size`, as detect.py does for a model that was exported for one size.
    """
    shown_width = frame_width * pixel_aspect
    scale = min(size / shown_width, size / frame_height)
    width, height = (max(1, round(side * scale)) for side in (shown_width, frame_height))
    across, down = size - width, size - height
    if not square:
        across, down = across % GRID, down % GRID
    # An odd pixel goes to the right and to the bottom.
    return Fit(
        frame_width, frame_height, width, height, across // 2, down // 2, width + across, height + down, pixel_aspect
    )


class Fitter:
    """Makes the model's input from the frames of one stream; one scaler for all of them, which keeps memory flat."""

    def __init__(self) -> None:
        self._reformatter, self._grey = VideoReformatter(), VideoReformatter()

    def luma(self, frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
        """The frame's brightness [height, width], as it lies in the frame where that is possible.

        Raises av.error.FFmpegError or ValueError where the frame cannot be converted.
        """
        if frame.format.name not in LUMA_FIRST:
            grey = self._grey.reformat(frame, format="gray", threads=1).to_ndarray()
            return np.asarray(grey, dtype=np.uint8)
        plane = frame.planes[0]
        lines = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)
        return np.asarray(lines[: frame.height, : frame.width], dtype=np.uint8)

    def blob(self, frame: av.VideoFrame, place: Fit) -> FloatArray:
        """The model's input [1, 3, input height, input width], RGB from 0 to 1.

        Raises av.error.FFmpegError or ValueError where the frame cannot be converted.
        """
        # All pixels to RGB first, then bilinear: what OpenCV's reader and `cv2.resize` do for detect.py.
        full = self._reformatter.reformat(frame, format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
        picture = resized(np.asarray(full, dtype=np.uint8), place.width, place.height)
        data = np.full((1, 3, place.input_height, place.input_width), PADDING, dtype=np.float32)
        inside = data[0, :, place.top : place.top + place.height, place.left : place.left + place.width]
        np.divide(picture.transpose(2, 0, 1), np.float32(255), out=inside)
        return data


def to_frame(xyxy: FloatArray, place: Fit) -> FloatArray:
    """Boxes [n, 4] in pixels of the model's input as boxes in pixels of the frame, cut off at its borders."""
    shown_width = place.frame_width * place.pixel_aspect
    gain = min(place.input_width / shown_width, place.input_height / place.frame_height)
    left = (place.input_width - shown_width * gain) / 2
    top = (place.input_height - place.frame_height * gain) / 2
    offset = np.array([left, top] * 2, dtype=np.float32)
    scale = np.array([gain * place.pixel_aspect, gain] * 2, dtype=np.float32)
    border = np.array([place.frame_width, place.frame_height] * 2, dtype=np.float32)
    inside: FloatArray = np.clip((xyxy - offset) / scale, np.float32(0), border)
    return inside
