"""The detector reports to nobody: onnxruntime's telemetry is off in the very process that runs the model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DETECTOR = Path(__file__).resolve().parents[2] / "detector"

# What the library would read if it were loaded now: it looks at the variable once, at its own import.
AT_IMPORT = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print("at import:", os.environ.get("ORT_DISABLE_TELEMETRY"))
        return None
sys.meta_path.insert(0, Watch())
"""


def run(code: str, home: Path) -> str:
    # A bare environment: on a build server (CI, GITHUB_ACTIONS and the like) the library keeps quiet by itself, and
    # these tests would say nothing about a camera's gateway.
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    environment = {**kept, "PYTHONPATH": str(DETECTOR), "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout


def files_left(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


def test_telemetry_is_off_before_onnxruntime_is_imported(tmp_path: Path) -> None:
    assert run(AT_IMPORT + "import shoal_detect.model.infer", tmp_path) == "at import: 1\n"
    assert run(AT_IMPORT + "import onnxruntime", tmp_path) == "at import: None\n"


def test_the_detector_leaves_no_device_id(tmp_path: Path) -> None:
    run("import shoal_detect.model.infer", tmp_path)
    assert files_left(tmp_path) == []
    run("import onnxruntime", tmp_path)
    if not files_left(tmp_path):
        pytest.skip("onnxruntime keeps no device id on this machine: nothing to compare with")
