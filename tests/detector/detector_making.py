"""Makes what the detector's tests need and nobody has to download: a small model, small videos, broken videos.

The model looks at squares of 32 x 32 pixels. A red one is a person, a magenta one a car, with the colour's strength as
confidence; all else is nothing. Its input and output are YOLOv5's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

REPOSITORY = Path(__file__).resolve().parents[2]
DETECTOR = REPOSITORY / "detector"
CELL = 32
ROWS_PER_CELL = 63
COLUMNS = 85
RED, MAGENTA, BLACK = (255, 0, 0), (255, 0, 255), (0, 0, 0)

Cells = dict[tuple[int, int], tuple[int, int, int]]
"""Colours of squares by column and row."""


def model(
    *,
    height: int | str = "height",
    width: int | str = "width",
    batch: int | str = 1,
    columns: int = COLUMNS,
    rows_per_cell: int = ROWS_PER_CELL,
    input_type: int = TensorProto.FLOAT,
) -> bytes:
    """The model described above as ONNX; sides are numbers, or names for any size."""
    # From the mean colour of a square to its row: kernel [columns, 4, 1, 1] over red, green, blue and one.
    kernel = np.zeros((columns, 4, 1, 1), np.float32)
    kernel[2:4, 3] = CELL  # width and height
    kernel[4, 0] = 1  # object: red
    kernel[5, 2], kernel[5, 3] = -1, 1  # person: not blue
    kernel[5 + 2, 2] = 1  # car: blue
    constants: dict[str, npt.NDArray[Any]] = {
        "kernel": kernel,
        "first_colour": np.array([0], np.int64),
        "last_colour": np.array([1], np.int64),
        "colour_axis": np.array([1], np.int64),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "half": np.array(0.5, np.float32),
        "cell": np.array(CELL, np.float32),
        "across": np.array(3, np.int64),
        "down": np.array(2, np.int64),
        "two": np.array([2], np.int64),
        "end": np.array([columns], np.int64),
        "flat": np.array([1, columns, -1], np.int64),
        "repeats": np.array([1, rows_per_cell, 1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("AveragePool", ["pixels"], ["mean"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Slice", ["mean", "first_colour", "last_colour", "colour_axis"], ["red"]),
        helper.make_node("Mul", ["red", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "one"], ["ones"]),
        helper.make_node("Concat", ["mean", "ones"], ["colours"], axis=1),
        helper.make_node("Conv", ["colours", "kernel"], ["values"]),
        *_centres("across", "x"),
        *_centres("down", "y"),
        helper.make_node("Mul", ["values", "zero"], ["empty"]),
        helper.make_node("Slice", ["empty", "two", "end", "colour_axis"], ["empty_rest"]),
        helper.make_node("Concat", ["x", "y", "empty_rest"], ["places"], axis=1),
        helper.make_node("Add", ["values", "places"], ["grid"]),
        helper.make_node("Reshape", ["grid", "flat"], ["columns_first"]),
        helper.make_node("Transpose", ["columns_first"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Tile", ["rows", "repeats"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "squares",
        [helper.make_tensor_value_info("images", input_type, [batch, 3, height, width])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, None, columns])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _centres(axis: str, name: str) -> list[onnx.NodeProto]:
    """Every square's centre along an axis in pixels."""
    return [
        helper.make_node("CumSum", ["ones", axis], [f"{name}_count"]),
        helper.make_node("Sub", [f"{name}_count", "half"], [f"{name}_middle"]),
        helper.make_node("Mul", [f"{name}_middle", "cell"], [name]),
    ]


def picture(cells: Cells, width: int = 64, height: int = 64) -> npt.NDArray[np.uint8]:
    """A black picture with some squares coloured."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for (column, row), colour in cells.items():
        pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = colour
    return pixels


def write_video(
    path: Path | str,
    pictures: Sequence[npt.NDArray[np.uint8]],
    *,
    codec: str = "mpeg4",
    fps: int = 10,
    muxer: str | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """Encode pictures at almost no loss, a key frame every ten."""
    with av.open(os.fspath(path), "w", format=muxer, options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = pictures[0].shape[:2] if pictures else (64, 64)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = 10
        by_codec: dict[str, dict[str, object]] = {"libx264": {"crf": "12"}, "libvpx": {}}
        stream.options = by_codec.get(codec, {"qmin": "2", "qmax": "3"})
        container.start_encoding()  # writes the header even where no picture follows
        for pixels in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def moving(frames: int = 20, *, noise: bool = False) -> list[npt.NDArray[np.uint8]]:
    """A person wandering over four squares, and a car on every second frame of the second half."""
    random = np.random.default_rng(7)
    pictures = []
    for number in range(frames):
        cells: Cells = {(number % 2, number // 2 % 2): RED}
        if number >= frames / 2 and number % 2 == 0:
            cells[(1, 1 - number // 2 % 2)] = MAGENTA
        pixels = picture(cells)
        if noise:  # makes files of some size, so that they can be cut
            pixels[:, :, 1] = random.integers(0, 60, pixels.shape[:2], dtype=np.uint8)
        pictures.append(pixels)
    return pictures


def write_sound(path: Path) -> None:
    """A file of the MP4 family without pictures."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def events(output: str) -> list[dict[str, Any]]:
    """The events that the program printed, without the field that every one has."""
    found = [json.loads(line) for line in output.splitlines()]
    assert {one.pop("shoal_detect") for one in found} <= {1}
    return found


def notes(output: str) -> str:
    """The sentences among them, one a line."""
    return "\n".join(one["text"] for one in events(output) if "text" in one)


def shoal_detect(arguments: Sequence[str], **more: Any) -> subprocess.Popen[str]:
    """Start the program as the image does."""
    environment = {**os.environ, "PYTHONPATH": str(DETECTOR), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "shoal_detect", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **more,
    )


def document(path: Path) -> dict[str, Any]:
    """A JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def detections(state: Path) -> dict[str, bytes]:
    """The content of every video's detections.jsonl, by the video's folder."""
    return {path.parent.name: path.read_bytes() for path in sorted(state.glob("videos/*/detections.jsonl"))}


def tree(state: Path) -> list[str]:
    """Everything in a folder, hidden things too."""
    return sorted(path.relative_to(state).as_posix() for path in state.rglob("*"))
