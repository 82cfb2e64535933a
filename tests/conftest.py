"""What holds for every test: nothing reports to anybody."""

from __future__ import annotations

import os

# Read by onnxruntime when it is imported, also where a test imports it without the detector.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
