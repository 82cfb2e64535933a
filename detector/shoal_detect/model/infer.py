"""The YOLOv5 model, checked when it is loaded, so that it cannot surprise in the middle of a run.

float32 runs on onnxruntime, bfloat16 on OpenVINO (`bfloat16.py`), each the faster one at it; docs/speed.md has figures.
One thread each: a run has a process per core, and the same sums in the same order whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from shoal_detect.errors import DetectorError, Exit
from shoal_detect.model import bfloat16
from shoal_detect.model.classes import NAMES
from shoal_detect.model.precision import Precision
from shoal_detect.model.stride import GRID

FloatArray = npt.NDArray[np.float32]
Dimension = int | str | None

COLUMNS = 5 + len(NAMES)
"""Of an output row: box, object confidence, class scores."""
ROWS_PER_CELL = 63
"""3 anchors on each of 3 grids of strides 8, 16 and 32: 3 * (16 + 4 + 1) rows for every 32 x 32 pixels."""


@dataclass(frozen=True, slots=True)
class Model:
    """A checked model, ready to run."""

    infer: Callable[[FloatArray], FloatArray]
    """From [1, 3, height, width] to rows [n, 85]."""
    square: bool = False
    """The weights were exported for one size: they take a square only."""


def load_model(data: bytes, *, size: int, precision: Precision = Precision.FLOAT32) -> Model:
    """Load an ONNX model and run it once on an empty picture of `size`.

    Raises DetectorError: WEIGHTS where it is no YOLOv5 model for the 80 COCO classes, USAGE where its input has a fixed
    size that is not `size`, or this processor does not compute in `precision`.
    """
    try:
        session = ort.InferenceSession(data, _options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no common base class
        raise _unusable(f"onnxruntime cannot load them: {_first_line(error)}") from None
    name, height, width = _checked_input(session)
    if {side for side in (height, width) if isinstance(side, int)} - {size}:
        raise DetectorError(f"--img {size}: these weights are made for {_size_text(height, width)} only", Exit.USAGE)
    output = _output_name(session)

    def in_float32(blob: FloatArray) -> FloatArray:
        rows: FloatArray = session.run([output], {name: blob})[0][0]
        return rows

    infer: Callable[[FloatArray], FloatArray] = in_float32
    if precision is Precision.BFLOAT16:
        infer = bfloat16.compiled(data, output)
    square = isinstance(height, int) or isinstance(width, int)
    _try_out(infer, size, size)
    if not square:
        # What most footage comes to; weights whose open size is a square's only fail here and not in mid-run.
        _try_out(infer, size, max(GRID, size // 2 // GRID * GRID))
    return Model(infer, square)


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def _checked_input(session: ort.InferenceSession) -> tuple[str, Dimension, Dimension]:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise _unusable(f"one input is needed, there are {len(inputs)}")
    shape: list[Dimension] = list(inputs[0].shape)
    if inputs[0].type != "tensor(float)":
        raise _unusable(f"the input must be float32, it is {inputs[0].type}")
    if len(shape) != 4 or (isinstance(shape[0], int) and shape[0] != 1) or shape[1] not in {3, None}:
        raise _unusable(f"the input must be [1, 3, height, width], it is {shape}")
    return inputs[0].name, shape[2], shape[3]


def _output_name(session: ort.InferenceSession) -> str:
    """The detections. Some exports give the three raw grids besides; those have five dimensions."""
    shapes = {output.name: list(output.shape) for output in session.get_outputs()}
    name: str
    for name, shape in shapes.items():
        if len(shape) == 3 and (shape[2] == COLUMNS or not isinstance(shape[2], int)):
            return name
    raise _unusable(f"no output is [1, n, {COLUMNS}] (YOLOv5 with 80 classes); there are {list(shapes.values())}")


def _try_out(infer: Callable[[FloatArray], FloatArray], width: int, height: int) -> None:
    expected = (ROWS_PER_CELL * (width // GRID) * (height // GRID), COLUMNS)
    try:
        found = infer(np.zeros((1, 3, height, width), dtype=np.float32)).shape
    except Exception as error:  # noqa: BLE001 - as above
        raise _unusable(f"they fail at pictures of {width}x{height}: {_first_line(error)}") from None
    if found != expected:
        raise _unusable(f"the output for {width}x{height} must be {list(expected)} a picture, it is {list(found)}")


def _unusable(reason: str) -> DetectorError:
    return DetectorError(f"weights unusable: {reason}", Exit.WEIGHTS)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _size_text(height: Dimension, width: Dimension) -> str:
    return f"--img {height}" if height == width else f"pictures of {width}x{height}"
