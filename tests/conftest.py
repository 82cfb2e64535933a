"""What holds for every test: nothing reports to anybody, and the terminal it is typed on makes no difference."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# How long one example takes says nothing on a machine with other work.
settings.register_profile("shoal", deadline=None)
settings.load_profile("shoal")

# Read by onnxruntime when it is imported, also where a test imports it without the detector.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Tables are as wide as they want to be, and without colours, whatever terminal the tests are typed on.
for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "PY_COLORS"):
    os.environ.pop(name, None)

# A shell's background job is started with Ctrl-C ignored, and its children inherit that: tests that interrupt a program
# would then wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
