"""The detector reports to nobody: onnxruntime's telemetry is off in the very process that runs the model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DETECTOR = Path(__file__).resolve().parents[2] / "detector"


def test_onnxruntime_starts_without_its_telemetry(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"PYTHONPATH": str(DETECTOR), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def files_left(code: str) -> list[Path]:
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, timeout=60)
        return [path for path in tmp_path.rglob("*") if path.is_file()]

    assert files_left("import shoal_detect.model") == []
    # The other way round the library keeps a device id: the check above can fail.
    assert files_left("import onnxruntime") != []
