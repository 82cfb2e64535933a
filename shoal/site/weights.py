"""The detector's model as an ONNX file: YOLOv5s converted once and kept, or a person's own file, checked first."""

from __future__ import annotations

import ast
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from shoal import artifacts
from shoal.artifacts import Say, State, locked, quiet
from shoal.errors import Fault, ShoalError, UsageError
from shoal.files import sha256_file, write_atomic
from shoal.jobs.classes import COCO_NAMES
from shoal.paths import cache_dir
from shoal.site import yolov5_onnx as yolov5_graph

YOLOV5S_LICENCE: Final = "AGPL-3.0 (Ultralytics YOLOv5)"
YOLOV5S_FILE: Final = "yolov5s.onnx"
CLASSES: Final = len(COCO_NAMES)
COLUMNS: Final = 5 + CLASSES
"""Of an output row: centre x, centre y, width, height, objectness, class scores."""
BOXES_PER_CELL: Final = 63
"""For every 32 x 32 pixels: 3 anchors on the 16 + 4 + 1 cells of strides 8, 16 and 32."""
_MODEL_FOLDER: Final = "package/dist/src/model_s/"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A model that the detector can run."""

    path: Path
    name: str
    sha256: str
    licence: str
    image_size_px: int | None = None
    """The one image size it was exported for; None: any multiple of 32."""


def yolov5s_path() -> Path:
    """Where the converted YOLOv5s lies once it was made: a folder per source package and converter version."""
    source = artifacts.load_catalogue().get("yolov5s-tfjs").sha256["any"]
    return cache_dir() / "weights" / f"{source[:16]}-{yolov5_graph.CONVERTER_VERSION}" / YOLOV5S_FILE


def yolov5s_state() -> tuple[State, str | None]:
    """Whether the converted YOLOv5s lies in the cache and is still as it was made; the hash it has."""
    path = yolov5s_path()
    if not path.exists():
        return State.MISSING, None
    sha256 = sha256_file(path)
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        recorded = record["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return State.DAMAGED, sha256
    return (State.CACHED if recorded == sha256 else State.DAMAGED), sha256


def _kept_yolov5s() -> WeightsFile | None:
    path, (state, sha256) = yolov5s_path(), yolov5s_state()
    return WeightsFile(path, path.stem, sha256, YOLOV5S_LICENCE) if state is State.CACHED and sha256 else None


def yolov5s(*, say: Say = quiet) -> WeightsFile:
    """YOLOv5s (COCO, 80 classes) from the cache, or fetched and converted, which takes about a second.

    Raises ShoalError where the package cannot be had or is damaged.
    """
    if kept := _kept_yolov5s():
        return kept
    path = yolov5s_path()
    with locked(path.parent.with_suffix(".lock"), what="the YOLOv5s weights", say=say):
        if kept := _kept_yolov5s():
            return kept
        package = artifacts.resolve("yolov5s-tfjs", say=say)
        say("converting YOLOv5s to ONNX")
        payload = convert(package)
        shutil.rmtree(path.parent, ignore_errors=True)
        with artifacts.disk_errors("the converted YOLOv5s weights"):
            write_atomic(path, payload)
            sha256 = sha256_file(path)
            write_atomic(path.with_suffix(".json"), json.dumps({"sha256": sha256}) + "\n")
    return WeightsFile(path, path.stem, sha256, YOLOV5S_LICENCE)


def convert(package: Path) -> bytes:
    """The npm package's TensorFlow.js model as a serialised ONNX model; the same bytes at every run.

    Raises ShoalError naming what the package lacks.
    """
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(package) as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.name.startswith(_MODEL_FOLDER) else None
                if content:
                    files[entry.name.removeprefix(_MODEL_FOLDER)] = content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ShoalError(f"{package.name} is damaged: {error}") from error
    if "model.json" not in files:
        raise ShoalError(f"{package.name} holds no {_MODEL_FOLDER}model.json")
    convolutions = yolov5_graph.read_convolutions(files["model.json"], files)
    if (found := sum(layer.kernel.size + layer.bias.size for layer in convolutions)) != yolov5_graph.PARAMETERS:
        raise ShoalError(f"{package.name} is not YOLOv5s: {found} parameters found, {yolov5_graph.PARAMETERS} expected")
    return yolov5_graph.build(
        convolutions,
        metadata={
            "names": repr(dict(enumerate(COCO_NAMES))),
            "stride": str(max(yolov5_graph.STRIDES)),
            "license": YOLOV5S_LICENCE,
            "source": "npm yolov5@1.0.11, converted",
        },
    )


def from_file(path: Path) -> WeightsFile:
    """A person's own model: an ONNX export of YOLOv5 (n, s, m, l or x) for the 80 COCO classes.

    Raises UsageError with every reason why the detector could not run it.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        if not _in_a_second_file(model):
            onnx.checker.check_model(model)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
    except OSError as error:
        raise UsageError(f"the weights {path} cannot be read: {error.strerror}") from None
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        hint = "export it first: YOLOv5's own `export.py --include onnx`"
        if path.suffix in {".pt", ".pth", ".tflite", ".engine", ".bin"}:
            raise UsageError(f"the weights {path} are not ONNX but {path.suffix}", hint=hint) from None
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"the weights {path} are not a whole ONNX model: {reason}", hint=hint) from None
    faults, image_size_px = _judge(model, metadata)
    if faults:
        raise UsageError(
            f"the weights {path} cannot be used",
            faults=tuple(faults),
            hint="shoal runs ONNX exports of YOLOv5 n, s, m, l and x: COCO classes, float32, no built-in suppression",
        )
    return WeightsFile(path.resolve(), path.stem, sha256_file(path), metadata.get("license", "unknown"), image_size_px)


def _in_a_second_file(model: onnx.ModelProto) -> bool:
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)


def _judge(model: onnx.ModelProto, metadata: Mapping[str, str]) -> tuple[list[Fault], int | None]:
    """What keeps the detector from running the model, and the one image size it was exported for."""
    faults: list[Fault] = []
    initial = {tensor.name for tensor in model.graph.initializer}
    if _in_a_second_file(model):
        faults.append(Fault("weights", "lie in a second file; only the one file is sent to the nodes"))
    inputs = [entry for entry in model.graph.input if entry.name not in initial]
    size = None
    if len(inputs) != 1:
        faults.append(Fault("input", f"one image expected, found {len(inputs)} inputs"))
    else:
        input_faults, size = _judge_input(inputs[0])
        faults += input_faults
    faults += _judge_outputs(model.graph.output, size)
    faults += _judge_names(metadata.get("names"))
    return faults, size


def _judge_input(image: onnx.ValueInfoProto) -> tuple[list[Fault], int | None]:
    where = f"input {image.name}"
    kind, shape = image.type.tensor_type.elem_type, _shape(image)
    faults = []
    if kind != onnx.TensorProto.FLOAT:
        faults.append(Fault(where, f"float32 expected, found {onnx.TensorProto.DataType.Name(kind).lower()}"))
    if len(shape) != 4 or shape[1] != 3 or (isinstance(shape[0], int) and shape[0] != 1):
        faults.append(Fault(where, f"shape [1, 3, height, width] expected, found {_show(shape)}"))
        return faults, None
    height, width = shape[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        return faults, None
    if height != width or height % 32:
        faults.append(Fault(where, f"a square whose side is a multiple of 32 expected, found {width} x {height}"))
        return faults, None
    return faults, height


def _judge_outputs(outputs: Sequence[onnx.ValueInfoProto], size: int | None) -> list[Fault]:
    """The detections are the output of three dimensions; some exports give the raw grids besides, of five."""
    shapes = {output.name: _shape(output) for output in outputs}
    flat = {name: shape for name, shape in shapes.items() if len(shape) == 3}
    if not flat:
        listed = ", ".join(_show(shape) for shape in shapes.values()) or "none"
        return [Fault("output", f"[1, boxes, {COLUMNS}] expected, found {listed}")]
    name, shape = next(((one, its) for one, its in flat.items() if its[2] == COLUMNS), next(iter(flat.items())))
    where, (boxes, columns) = f"output {name}", shape[1:]
    if isinstance(boxes, int) and (not isinstance(columns, int) or columns > boxes):
        # [1, 4 + classes, boxes]
        reason = f"{_show(shape)} is the layout of YOLOv8 or later: columns first and no objectness; not YOLOv5's"
    elif isinstance(columns, int) and columns != COLUMNS:
        reason = f"{COLUMNS} columns expected (4 of the box, objectness, {CLASSES} COCO classes), found {_show(shape)}"
    elif size and isinstance(boxes, int) and boxes != (expected := BOXES_PER_CELL * (size // 32) ** 2):
        reason = f"{expected} raw boxes expected for an image of {size} px, found {_show(shape)}"
    else:
        return []
    return [Fault(where, reason)]


def _judge_names(text: str | None) -> list[Fault]:
    if text is None:
        return []
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [Fault("metadata names", "cannot be read as a list or table of class names")]
    values = list(names.values()) if isinstance(names, dict) else list(names) if isinstance(names, list) else []
    if values != list(COCO_NAMES):
        return [Fault("metadata names", f"are not the {CLASSES} COCO classes, which the detector's results speak of")]
    return []


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    dimensions: list[Any] = list(value.type.tensor_type.shape.dim)
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dimensions]


def _show(shape: list[int | str]) -> str:
    return f"[{', '.join(map(str, shape))}]"
