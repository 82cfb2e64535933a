"""Colours reach the model as they were filmed, whatever matrix, range, depth and sampling a recording uses."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.reformatter import ColorRange, Colorspace
from shoal_detect.model.letterbox import Fitter, fit
from shoal_detect.read.decode import Reading, read_frames
from shoal_detect.read.videos import find_videos

PATCHES = np.array(
    [
        *((200, 30, 30), (30, 180, 30), (30, 30, 200), (200, 200, 30)),
        *((200, 30, 200), (30, 200, 200), (235, 235, 235), (20, 20, 20)),
    ],
    np.uint8,
)
SIDE = 80
TOLERANCE = 5
"""Of 255: what 8 bits, subsampling and a nearly lossless encoder cost."""

# Codec, pixel format, matrix and range that are written and, where `tagged`, named in the file.
CASES: dict[str, tuple[str, str, Colorspace | None, ColorRange | None]] = {
    "untagged": ("libx264", "yuv420p", None, None),
    "601 limited": ("libx264", "yuv420p", Colorspace.SMPTE170M, ColorRange.MPEG),
    "601 full": ("libx264", "yuvj420p", Colorspace.SMPTE170M, ColorRange.JPEG),
    "full without a matrix": ("libx264", "yuvj420p", None, ColorRange.JPEG),
    "709 limited": ("libx264", "yuv420p", Colorspace.ITU709, ColorRange.MPEG),
    "709 full": ("libx264", "yuvj420p", Colorspace.ITU709, ColorRange.JPEG),
    "709 full, 4:4:4": ("libx264", "yuvj444p", Colorspace.ITU709, ColorRange.JPEG),
    "709 limited, 4:2:2": ("libx264", "yuv422p", Colorspace.ITU709, ColorRange.MPEG),
    "240M limited": ("libx264", "yuv420p", Colorspace.SMPTE240M, ColorRange.MPEG),
    "709 limited, 10 bits": ("libx265", "yuv420p10le", Colorspace.ITU709, ColorRange.MPEG),
    "709 full, 10 bits": ("libx265", "yuv420p10le", Colorspace.ITU709, ColorRange.JPEG),
    "motion JPEG": ("mjpeg", "yuvj420p", Colorspace.ITU601, ColorRange.JPEG),
    "RGB": ("libx264rgb", "rgb24", None, None),
    "grey, limited": ("libx264", "yuv420p", None, ColorRange.MPEG),
    "grey, full": ("libx264", "gray", None, ColorRange.JPEG),
}


def _truth(name: str) -> npt.NDArray[np.float64]:
    if "grey" not in name:
        return PATCHES.astype(float)
    return np.repeat(PATCHES @ np.array([[0.299], [0.587], [0.114]]), 3, axis=1)


def film(path: Path, name: str) -> None:
    codec, pixels, matrix, colour_range = CASES[name]
    picture = np.repeat(np.repeat(_truth(name).round().astype(np.uint8)[None], SIDE, axis=1), 4 * SIDE, axis=0)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    if pixels != "rgb24":
        frame = frame.reformat(
            format=pixels,
            dst_colorspace=matrix or Colorspace.ITU601,
            dst_color_range=colour_range or ColorRange.MPEG,
            src_color_range=ColorRange.JPEG,
        )
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pixels
        stream.options = {"preset": "ultrafast", "qp": "1", "x265-params": "log-level=none:qp=2"}
        if codec == "mjpeg":
            stream.options = {"qmin": "1", "qmax": "2"}
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        if colour_range is not None:
            stream.codec_context.color_range = colour_range
        for place in range(3):
            frame.pts, frame.time_base = place, 1 / stream.codec_context.rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("name", CASES)
def test_colours_are_those_that_were_filmed(tmp_path: Path, name: str) -> None:
    film(tmp_path / "c.mkv", name)
    (video,) = find_videos(str(tmp_path)).videos
    *_, last = read_frames(video, Reading())
    place = fit(last.image.width, last.image.height, 640)
    blob = Fitter().blob(last.image, place)[0]
    row = place.top + place.height // 2
    seen = blob[:, row, place.left + SIDE // 2 :: SIDE].T[:8] * 255
    assert np.abs(seen - _truth(name)).max() <= TOLERANCE
