from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from local_registries import tgz
from onnx import TensorProto, helper

from shoal.artifacts import State
from shoal.errors import Exit, ShoalError, UsageError
from shoal.site import weights
from shoal.site import yolov5_onnx as yolov5_graph

FOLDER = "package/dist/src/model_s/"
# Output channels, input channels and kernel size of every convolution of YOLOv5s in network order.
LAYERS = [
    (32, 3, 6), (64, 32, 3), (32, 64, 1), (32, 64, 1), (64, 64, 1), (32, 32, 1), (32, 32, 3), (128, 64, 3),
    (64, 128, 1), (64, 128, 1), (128, 128, 1), (64, 64, 1), (64, 64, 3), (64, 64, 1), (64, 64, 3), (256, 128, 3),
    (128, 256, 1), (128, 256, 1), (256, 256, 1), (128, 128, 1), (128, 128, 3), (128, 128, 1), (128, 128, 3),
    (128, 128, 1), (128, 128, 3), (512, 256, 3), (256, 512, 1), (256, 512, 1), (512, 512, 1), (256, 256, 1),
    (256, 256, 3), (256, 512, 1), (512, 1024, 1), (256, 512, 1), (128, 512, 1), (128, 512, 1), (256, 256, 1),
    (128, 128, 1), (128, 128, 3), (128, 256, 1), (64, 256, 1), (64, 256, 1), (128, 128, 1), (64, 64, 1), (64, 64, 3),
    (128, 128, 3), (128, 256, 1), (128, 256, 1), (256, 256, 1), (128, 128, 1), (128, 128, 3), (256, 256, 3),
    (256, 512, 1), (256, 512, 1), (512, 512, 1), (256, 256, 1), (256, 256, 3), (255, 128, 1), (255, 256, 1),
    (255, 512, 1),
]  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def manifest(layers: Sequence[tuple[int, int, int]] = LAYERS, shards: int = 2) -> dict[str, Any]:
    """A model.json with the layers in an order that is not the network's, as the real one has them."""
    described: list[dict[str, Any]] = [{"name": "m/tf_detect/shape", "shape": [2], "dtype": "int32"}]
    for number, (out, into, size) in reversed(list(enumerate(layers))):
        layer = f"m/conv2d_{number}" if number else "m/conv2d"
        described += [
            {"name": f"{layer}/Conv2D/ReadVariableOp", "shape": [size, size, into, out], "dtype": "float32"},
            {"name": f"{layer}/BiasAdd/ReadVariableOp", "shape": [out], "dtype": "float32"},
        ]
    paths = [f"shard{number}.bin" for number in range(shards)]
    return {"format": "graph-model", "weightsManifest": [{"paths": paths, "weights": described}]}


def package(document: dict[str, Any] | None = None, *, cut: int = 0, leave_out: str = "") -> dict[str, bytes]:
    """Files of a package with all weights zero but one bias: objectness of the first anchor of stride 8."""
    document = document or manifest()
    entries = document["weightsManifest"][0]["weights"]
    values = np.zeros(sum(int(np.prod(one["shape"])) for one in entries), dtype="<f4")
    offset = 0
    for one in entries:
        if one["name"] == "m/conv2d_57/BiasAdd/ReadVariableOp":
            values[offset + 4] = 3.0
        offset += int(np.prod(one["shape"]))
    buffer = values.tobytes()[: 4 * offset - cut]
    half = len(buffer) // 2
    files = {"model.json": json.dumps(document).encode(), "shard0.bin": buffer[:half], "shard1.bin": buffer[half:]}
    return {FOLDER + name: data for name, data in files.items() if name != leave_out}


def write(path: Path, files: dict[str, bytes]) -> Path:
    path.write_bytes(tgz(files))
    return path


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("npm") / "yolov5.tgz", package())


@pytest.fixture(scope="module")
def converted(zeros: Path) -> bytes:
    return weights.convert(zeros)


def test_parameters_are_those_of_yolov5s() -> None:
    assert sum(out * into * size * size + out for out, into, size in LAYERS) == yolov5_graph.PARAMETERS


def test_names_are_mapped_to_layers_in_network_order() -> None:
    layers = [(2, 3, 1)] * yolov5_graph.CONVOLUTIONS
    document = manifest(layers, shards=1)
    entries = document["weightsManifest"][0]["weights"]
    buffer = np.arange(sum(int(np.prod(one["shape"])) for one in entries), dtype="<f4")
    found = yolov5_graph.read_convolutions(json.dumps(document).encode(), {"shard0.bin": buffer.tobytes()})
    # 2 numbers of another kind first, then layer 59 (6 weights, 2 biases), then 58 …
    start = 2 + 8 * 59
    kernel = buffer[start : start + 6].reshape(1, 1, 3, 2)
    assert found[0].kernel.shape == (2, 3, 1, 1)
    assert np.array_equal(found[0].kernel[:, :, 0, 0], kernel[0, 0].T)
    assert np.array_equal(found[0].bias, buffer[start + 6 : start + 8])
    assert np.array_equal(found[59].bias, [8.0, 9.0])


def test_boxes_come_out_in_pixels_at_any_size(converted: bytes) -> None:
    """With zero weights every sigmoid is a half: a box sits in its cell's middle and has its anchor's size."""
    session = onnxruntime.InferenceSession(converted, providers=["CPUExecutionProvider"])
    assert [(one.name, one.shape) for one in session.get_inputs()] == [("images", [1, 3, "height", "width"])]
    for height, width in ((64, 96), (96, 96)):
        (rows,) = session.run(["output0"], {"images": np.zeros((1, 3, height, width), dtype=np.float32)})
        expected = []
        for stride, anchors in zip(yolov5_graph.STRIDES, yolov5_graph.ANCHORS_PX, strict=True):
            for anchor in anchors:
                for y in range(height // stride):
                    for x in range(width // stride):
                        expected.append([(x + 0.5) * stride, (y + 0.5) * stride, *anchor])
        assert rows.shape == (1, 63 * height * width // 1024, 85)
        np.testing.assert_allclose(rows[0, :, :4], expected, rtol=1e-6)
        np.testing.assert_allclose(rows[0, :, 5:], 0.5)
        first_anchor = height * width // 64
        np.testing.assert_allclose(rows[0, :first_anchor, 4], 1 / (1 + np.exp(-3.0)), rtol=1e-5)
        np.testing.assert_allclose(rows[0, first_anchor:, 4], 0.5)


def test_same_package_same_bytes(zeros: Path, converted: bytes) -> None:
    assert weights.convert(zeros) == converted


def test_metadata(converted: bytes) -> None:
    metadata = {one.key: one.value for one in onnx.load_from_string(converted).metadata_props}
    assert metadata["license"] == "AGPL-3.0 (Ultralytics YOLOv5)"
    assert metadata["names"].startswith("{0: 'person', 1: 'bicycle', 2: 'car'")
    assert metadata["stride"] == "32"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"package/package.json": b"{}"}, "holds no package/dist/src/model_s/model.json"),
        (package(leave_out="shard1.bin"), "shard1.bin: shard is missing"),
        (package(cut=400), r"describes \d+ bytes of weights, its shards hold \d+"),
        (package(manifest(LAYERS[:-1])), "convolution 59: has no kernel"),
        (package(manifest([*LAYERS, (1, 1, 1)])), "convolution 60: is not part of YOLOv5s"),
        (package(manifest([*LAYERS[:-1], (30, 512, 1)])), "not YOLOv5s: 7110460 parameters"),
        ({FOLDER + "model.json": b"not json"}, "not a TensorFlow.js graph model"),
        ({FOLDER + "model.json": b'{"format": "graph-model"}'}, "not a TensorFlow.js graph model"),
    ],
    ids=["no model", "no shard", "short", "layer missing", "layer more", "other size", "no json", "no manifest"],
)
def test_damaged_package_is_refused(tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(ShoalError, match=reason):
        weights.convert(write(tmp_path / "yolov5.tgz", files))


def test_layers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """As many parameters as YOLOv5s has, and two layers changed places."""
    layers = [*LAYERS[:8], LAYERS[10], LAYERS[9], LAYERS[8], *LAYERS[11:]]
    with pytest.raises(ShoalError, match="do not fit YOLOv5s"):
        weights.convert(write(tmp_path / "yolov5.tgz", package(manifest(layers))))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yolov5.tgz").write_bytes(b"rubbish")
    with pytest.raises(ShoalError, match=r"yolov5\.tgz is damaged"):
        weights.convert(tmp_path / "yolov5.tgz")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, zeros: Path) -> list[str]:
    asked: list[str] = []

    def resolve(name: str, **others: object) -> Path:
        asked.append(name)
        return zeros

    monkeypatch.setattr(weights.artifacts, "resolve", resolve)
    return asked


def test_converted_once(fetched: list[str]) -> None:
    first = weights.yolov5s()
    assert (first.name, first.licence) == ("yolov5s", "AGPL-3.0 (Ultralytics YOLOv5)")
    assert weights.yolov5s() == first
    assert fetched == ["yolov5s-tfjs"]
    assert weights.from_file(first.path).sha256 == first.sha256


@pytest.mark.parametrize("what", ["model", "record"])
def test_damaged_conversion_is_made_again(fetched: list[str], what: str) -> None:
    first = weights.yolov5s()
    damaged = first.path if what == "model" else first.path.with_suffix(".json")
    damaged.write_bytes(damaged.read_bytes()[:-10])
    assert weights.yolov5s_state()[0] is State.DAMAGED
    assert weights.yolov5s() == first
    assert weights.yolov5s_state() == (State.CACHED, first.sha256)
    assert len(fetched) == 2


def model(
    path: Path,
    image: Sequence[int | str] = (1, 3, 640, 640),
    outputs: Sequence[Sequence[int | str]] = ((1, 25200, 85),),
    kind: int = TensorProto.FLOAT,
    **metadata: str,
) -> Path:
    """An ONNX file with the given shapes; what it computes is of no matter here."""
    nodes, infos = [], []
    for number, shape in enumerate(outputs):
        nodes.append(helper.make_node("Identity", ["images"], [f"out{number}"]))
        infos.append(helper.make_tensor_value_info(f"out{number}", kind, shape))
    inputs = [helper.make_tensor_value_info("images", kind, image)]
    made = helper.make_model(helper.make_graph(nodes, "g", inputs, infos), ir_version=8)
    for key, value in metadata.items():
        made.metadata_props.add(key=key, value=value)
    path.write_bytes(made.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("image", "outputs", "size"),
    [
        ((1, 3, 640, 640), ((1, 25200, 85),), 640),
        ((1, 3, 320, 320), ((1, 6300, 85),), 320),
        (("batch", 3, "height", "width"), (("batch", "anchors", 85),), None),
        ((1, 3, 640, 640), ((1, 25200, 85), (1, 3, 80, 80, 85), (1, 3, 40, 40, 85), (1, 3, 20, 20, 85)), 640),
    ],
    ids=["fixed", "small", "open", "old export"],
)
def test_exports_of_yolov5_are_taken(tmp_path: Path, image: Any, outputs: Any, size: int | None) -> None:
    found = weights.from_file(model(tmp_path / "my yolo.onnx", image, outputs))
    assert (found.name, found.image_size_px, found.licence) == ("my yolo", size, "unknown")


def test_licence_is_read_from_the_file(tmp_path: Path) -> None:
    assert weights.from_file(model(tmp_path / "a.onnx", license="GPL-3.0")).licence == "GPL-3.0"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"outputs": [(1, 84, 8400)]}, "the layout of YOLOv8 or later"),
        ({"outputs": [("batch", 84, "anchors")], "image": ("batch", 3, "h", "w")}, "the layout of YOLOv8 or later"),
        ({"outputs": [(1, 300, 6)]}, "85 columns expected"),
        ({"outputs": [(1, 25200, 7)]}, "85 columns expected"),
        ({"outputs": [(1, 300, 85)]}, "25200 raw boxes expected for an image of 640 px"),
        ({"outputs": [(1, 1000)]}, r"\[1, boxes, 85\] expected, found \[1, 1000\]"),
        ({"image": (1, 1, 640, 640)}, r"shape \[1, 3, height, width\] expected"),
        ({"image": (1, 640, 640, 3)}, r"shape \[1, 3, height, width\] expected"),
        ({"image": (8, 3, 640, 640)}, r"shape \[1, 3, height, width\] expected"),
        ({"image": (1, 3, 384, 640)}, "a square whose side is a multiple of 32"),
        ({"kind": TensorProto.FLOAT16}, "float32 expected, found float16"),
        ({"names": "{0: 'cat', 1: 'dog'}"}, "not the 80 COCO classes"),
        ({"names": "rubbish("}, "cannot be read"),
    ],
)
def test_other_models_are_refused_with_the_reason(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        weights.from_file(model(tmp_path / "a.onnx", **changes))
    assert caught.value.exit_code is Exit.USAGE


def test_all_reasons_come_at_once(tmp_path: Path) -> None:
    path = model(tmp_path / "a.onnx", (1, 1, 640, 640), [(1, 84, 8400)], TensorProto.FLOAT16)
    with pytest.raises(UsageError) as caught:
        weights.from_file(path)
    assert len(caught.value.faults) == 3


def test_weights_in_a_second_file_are_refused(tmp_path: Path, converted: bytes) -> None:
    onnx.save(onnx.load_from_string(converted), tmp_path / "a.onnx", save_as_external_data=True, location="a.data")
    with pytest.raises(UsageError, match="second file"):
        weights.from_file(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.onnx", b"", "not a whole ONNX model"),
        ("a.onnx", b"rubbish" * 100, "not a whole ONNX model"),
        ("a.pt", b"PK\x03\x04" * 100, r"not ONNX but \.pt"),
    ],
)
def test_files_that_are_no_model(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=reason):
        weights.from_file(tmp_path / name)


def test_a_model_cut_short_is_refused(tmp_path: Path, converted: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(converted[: len(converted) // 2])
    with pytest.raises(UsageError, match="not a whole ONNX model"):
        weights.from_file(tmp_path / "a.onnx")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        weights.from_file(tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        weights.from_file(tmp_path)
