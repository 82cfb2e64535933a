"""A model is checked when it is loaded: its size, its shapes, its file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from shoal_detect.errors import DetectorError, Exit
from shoal_detect.model.infer import load_model
from shoal_detect.model.weights import read_weights

from tests.detector import detector_making as making


def _load(data: bytes, size: int = 64) -> str:
    with pytest.raises(DetectorError) as caught:
        load_model(data, size=size)
    assert caught.value.exit_code is Exit.WEIGHTS
    return caught.value.message


@pytest.mark.parametrize(
    "sides", [{}, {"batch": "batch"}, {"height": "side", "width": "side"}, {"height": 64, "width": 64}]
)
def test_models_of_any_size_and_of_one_size_are_taken(sides: dict[str, int | str]) -> None:
    model = load_model(making.model(**sides), size=64)  # type: ignore[arg-type]
    assert model.infer(np.zeros((1, 3, 64, 64), np.float32)).shape == (252, 85)


def test_a_model_of_another_size_is_bad_usage_and_its_size_is_named() -> None:
    with pytest.raises(DetectorError) as caught:
        load_model(making.model(height=320, width=320), size=640)
    assert caught.value.exit_code is Exit.USAGE
    assert "--img 640" in caught.value.message
    assert "--img 320 only" in caught.value.message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "onnxruntime cannot load them"),
        (b"this is no model", "onnxruntime cannot load them"),
        (making.model(columns=10), "no output is [1, n, 85]"),
        (making.model(rows_per_cell=21), "for 64x64 must be [252, 85] a picture, it is [84, 85]"),
        (making.model(batch=4, height=64, width=64), "the input must be [1, 3, height, width], it is [4, 3, 64, 64]"),
        (making.model(input_type=TensorProto.FLOAT16), "the input must be float32, it is tensor(float16)"),
    ],
)
def test_what_is_no_yolov5_model_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    assert reason in _load(data)


def test_weights_are_refused_if_their_hash_is_not_the_expected_one(tmp_path: Path, model_bytes: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes)
    sha256 = hashlib.sha256(model_bytes).hexdigest()
    assert read_weights(path, None) == read_weights(path, sha256) == (model_bytes, sha256)
    with pytest.raises(DetectorError) as caught:
        read_weights(path, "0" * 64)
    assert caught.value.exit_code is Exit.WEIGHTS
    assert "0" * 64 in caught.value.message
    assert sha256 in caught.value.message


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"gone\.onnx cannot be read: No such file"):
        read_weights(tmp_path / "gone.onnx", None)
