"""What holds for every test: nothing reports to anybody; whose terminal, cache and state it is makes no difference."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from tests import own_folders

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


def pytest_configure(config: pytest.Config) -> None:
    # `./just verify` sets it: those checks are of the person's own machines.
    if "SHOAL_SUBSTRATE" in os.environ or own_folders.DOWNLOADS in os.environ:
        return
    folder = Path(tempfile.mkdtemp(prefix="shoal-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    own_folders.take(os.environ, folder)
