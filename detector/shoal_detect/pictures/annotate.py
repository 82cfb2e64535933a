"""Draws boxes with labels into a picture, and encodes it as JPEG."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from shoal_detect.pictures.font import text_mask

Picture = npt.NDArray[np.uint8]

JPEG_QUALITY = 4
"""FFmpeg's scale for MJPEG, 2 (best) to 31."""
GOLDEN_ANGLE = 0.381966
"""As a share of the circle; steps of it give neighbouring classes hues far apart."""


@dataclass(frozen=True, slots=True)
class Label:
    """A box to draw, in pixels of the picture."""

    class_id: int
    text: str
    box: tuple[float, float, float, float]


def draw(picture: Picture, labels: Sequence[Label]) -> None:
    """Draw into `picture` [height, width, 3]. The first label comes out on top."""
    scale = 2 if picture.shape[1] >= 640 else 1
    for label in reversed(labels):
        _draw_box(picture, label, thickness=scale + 1)
    for label in reversed(labels):
        _draw_text(picture, label, scale)


def _colour(class_id: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb((class_id * GOLDEN_ANGLE) % 1, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _draw_box(picture: Picture, label: Label, thickness: int) -> None:
    left, top, right, bottom = (round(edge) for edge in label.box)
    colour = _colour(label.class_id)
    picture[top : top + thickness, left:right] = colour
    picture[max(top, bottom - thickness) : bottom, left:right] = colour
    picture[top:bottom, left : left + thickness] = colour
    picture[top:bottom, max(left, right - thickness) : right] = colour


def _draw_text(picture: Picture, label: Label, scale: int) -> None:
    """The text on a plate in the class's colour, above the box where there is room, else inside it."""
    mask = np.pad(text_mask(label.text, scale), ((scale, scale), (0, 0)))
    colour = _colour(label.class_id)
    plate = np.empty((*mask.shape, 3), dtype=np.uint8)
    plate[:] = colour
    brightness = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]  # ITU-R BT.601 luma
    plate[mask] = 0 if brightness > 128 else 255

    height, width = mask.shape
    left = max(0, min(round(label.box[0]), picture.shape[1] - width))
    above = round(label.box[1]) - height
    top = above if above >= 0 else max(0, min(round(label.box[1]), picture.shape[0] - height))
    room = picture[top : top + height, left : left + width]
    room[:] = plate[: room.shape[0], : room.shape[1]]


def encode_jpeg(picture: Picture) -> bytes:
    """The picture as a JPEG file; the same bytes for the same picture."""
    encoder = av.VideoCodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = picture.shape[1], picture.shape[0]
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1, 1)
    encoder.thread_count = 1
    encoder.options = {"qmin": str(JPEG_QUALITY), "qmax": str(JPEG_QUALITY)}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame = frame.reformat(format="yuvj420p", threads=1)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
