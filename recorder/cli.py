"""`python3 -m recorder SETTINGS`: record the camera of a settings file until SIGTERM or SIGINT.

Exit codes: 0 stopped, 1 to be begun anew because a disk is read-only, 2 settings or credentials that cannot be used.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from recorder.run import Recorder
from recorder.settings import SettingsError, credentials, load
from recorder.source import SourceError, input_of


def main(arguments: Sequence[str]) -> int:
    """Run the program; return its exit code."""
    if len(arguments) != 1:
        _say("usage: python3 -m recorder SETTINGS")
        return 2
    try:
        path = Path(arguments[0])
        settings = load(path)
        source = input_of(settings.source, settings.silence_s, credentials(path))
    except (SettingsError, SourceError) as error:
        _say(f"{error}; the site's deploy places these settings (docs/cameras.md)")
        return 2
    recorder = Recorder(settings, source, lambda text: _say(f"{settings.camera}: {text}"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: recorder.stop())
    recorder.run()
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
