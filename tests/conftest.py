"""What holds for every test: nothing reports to anybody; whose terminal, cache and state it is makes no difference."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import settings

from tests import own_folders

Handler = Callable[[int, FrameType | None], object] | int | None

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


@pytest.fixture(autouse=True)
def _the_process_stays_as_it_was() -> Iterator[None]:
    """A test that leaves another umask, folder or signal handler behind fails itself, and not some later test."""
    before = _process()
    yield
    after = _process()
    if after != before:
        os.umask(before[0])
        os.chdir(before[1])
        signal.signal(signal.SIGINT, before[2])
        signal.signal(signal.SIGTERM, before[3])
    assert after == before, "the test left another umask, working folder or signal handler behind"


def _process() -> tuple[int, str, Handler, Handler]:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask, str(Path.cwd()), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
