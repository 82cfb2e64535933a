"""A model, a folder of videos and a state folder for every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from shoal_detect.cli import parse_settings
from shoal_detect.state.settings import Settings

from tests.detector import detector_making as making


@pytest.fixture(scope="session")
def model_bytes() -> bytes:
    return making.model()


@pytest.fixture
def weights(tmp_path: Path, model_bytes: bytes) -> Path:
    path = tmp_path / "squares.onnx"
    path.write_bytes(model_bytes)
    return path


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Not made yet: the program makes it."""
    return tmp_path / "state"


@pytest.fixture
def arguments(videos: Path, state: Path, weights: Path) -> Callable[..., list[str]]:
    """The command line for this test's folders, with more arguments at its end."""

    def build(*more: str) -> list[str]:
        return [
            *("--input", str(videos), "--state", str(state), "--run", "run-1"),
            *("--weights", str(weights), "--weights-name", "squares", "--img", "64", "--threads", "1"),
            *("--precision", "float32"),
            *more,
        ]

    return build


@pytest.fixture
def settings(arguments: Callable[..., list[str]]) -> Callable[..., Settings]:
    """Checked settings for this test's folders."""

    def build(*more: str) -> Settings:
        return parse_settings(arguments(*more))

    return build
