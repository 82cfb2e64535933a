"""What holds for every test: nothing reports to anybody."""

from __future__ import annotations

import os
import signal

# Read by onnxruntime when it is imported, also where a test imports it without the detector.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# A shell's background job is started with Ctrl-C ignored, and its children inherit that: tests that interrupt a program
# would then wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
