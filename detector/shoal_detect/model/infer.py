"""The YOLOv5 model in onnxruntime: checked when it is loaded, so that it cannot surprise in the middle of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from shoal_detect.errors import DetectorError, Exit
from shoal_detect.model.classes import NAMES
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
    """From [1, 3, size, size] to rows [n, 85]."""
    threads: int


def read_weights(path: Path, expected_sha256: str | None) -> tuple[bytes, str]:
    """The weights file and its SHA-256. Raises DetectorError(WEIGHTS) where it cannot be read or is another file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DetectorError(f"weights {path} cannot be read: {error.strerror}", Exit.WEIGHTS) from None
    sha256 = hashlib.sha256(data).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise DetectorError(
            f"weights {path} have the wrong SHA-256: expected {expected_sha256}, found {sha256}", Exit.WEIGHTS
        )
    return data, sha256


def load_model(data: bytes, *, size: int, threads: int) -> Model:
    """Load an ONNX model and run it once on an empty picture of `size`.

    Raises DetectorError: WEIGHTS where it is no YOLOv5 model for the 80 COCO classes, USAGE where its input has a fixed
    size that is not `size`.
    """
    try:
        session = ort.InferenceSession(data, _options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no common base class
        raise _unusable(f"onnxruntime cannot load them: {_first_line(error)}") from None
    name, height, width = _checked_input(session)
    if {side for side in (height, width) if isinstance(side, int)} - {size}:
        raise DetectorError(f"--img {size}: these weights are made for {_size_text(height, width)} only", Exit.USAGE)
    output = _output_name(session)

    def infer(blob: FloatArray) -> FloatArray:
        rows: FloatArray = session.run([output], {name: blob})[0][0]
        return rows

    _try_out(infer, size)
    return Model(infer, threads)


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    # Left alone, onnxruntime counts the host's CPUs, not those of the container's quota.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait take the CPU from decoding, and from whatever else the machine does:
    # half the frame rate was lost to it on a busy two-core machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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


def _try_out(infer: Callable[[FloatArray], FloatArray], size: int) -> None:
    expected = (ROWS_PER_CELL * (size // GRID) ** 2, COLUMNS)
    try:
        found = infer(np.zeros((1, 3, size, size), dtype=np.float32)).shape
    except Exception as error:  # noqa: BLE001 - as above
        raise _unusable(f"they fail at --img {size}: {_first_line(error)}") from None
    if found != expected:
        raise _unusable(f"the output at --img {size} must be {list(expected)} a picture, it is {list(found)}")


def _unusable(reason: str) -> DetectorError:
    return DetectorError(f"weights unusable: {reason}", Exit.WEIGHTS)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _size_text(height: Dimension, width: Dimension) -> str:
    return f"--img {height}" if height == width else f"pictures of {width}x{height}"
