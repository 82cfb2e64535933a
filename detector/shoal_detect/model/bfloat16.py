"""The model in bfloat16 on OpenVINO, for processors that compute in it (AMX, AVX512-BF16)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_detect.errors import DetectorError, Exit

FloatArray = npt.NDArray[np.float32]
PROPERTIES: dict[str, Any] = {
    "INFERENCE_PRECISION_HINT": "bf16",
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "INFERENCE_NUM_THREADS": 1,
    # Pinned, the processes of one run would share the first cores; the kernel knows better.
    "ENABLE_CPU_PINNING": False,
}


def lacking() -> str | None:
    """Why this machine cannot, as the rest of a sentence; None where it can."""
    if importlib.util.find_spec("openvino") is None:
        return "this image has no OpenVINO"
    import openvino  # noqa: PLC0415 - takes a third of a second, which runs in float32 do without

    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    return "this processor does not compute in bfloat16"


def compiled(data: bytes, output: str) -> Callable[[FloatArray], FloatArray]:
    """A function from [1, 3, height, width] to the rows [n, 85] of `output`.

    Raises DetectorError: USAGE where this machine cannot, WEIGHTS where OpenVINO does not take the model.
    """
    reason = lacking()
    if reason is not None:
        raise DetectorError(f"--precision bfloat16: {reason}", Exit.USAGE)
    import openvino  # noqa: PLC0415 - as above

    core = openvino.Core()
    try:
        request = core.compile_model(core.read_model(data), "CPU", PROPERTIES).create_infer_request()
        rows = request.get_compiled_model().output(output)
    except RuntimeError as error:
        first = str(error).strip().partition("\n")[0]
        raise DetectorError(f"weights unusable: OpenVINO cannot load them: {first}", Exit.WEIGHTS) from None

    def infer(blob: FloatArray) -> FloatArray:
        request.infer({0: blob}, share_inputs=True)
        # A copy: the request writes the next frame's rows into the same memory.
        found: FloatArray = request.get_tensor(rows).data[0].copy()
        return found

    return infer
