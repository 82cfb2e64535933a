"""The command line of the watch: `shoal-detect watch --settings FILE --input FOLDER --state FOLDER`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from shoal_detect.errors import DetectorError, Interrupted
from shoal_detect.progress import report_error, say
from shoal_detect.stop import Stop
from shoal_detect.watch.run import watch
from shoal_detect.watch.settings import load


def main(arguments: Sequence[str]) -> int:
    """Watch until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="shoal-detect watch",
        description="Look at a machine's cameras as their footage comes, without end.",
        epilog="exit codes: 0 stopped; 2 settings, rules or footage that cannot be read; 5 weights unusable; "
        "6 no space left or the state folder cannot be written. Started again it goes on where it was.",
        allow_abbrev=False,
    )
    parser.add_argument("--settings", required=True, type=Path, help="JSON; see docs/cameras.md")
    parser.add_argument("--input", required=True, help="folder of videos, only read")
    parser.add_argument("--state", required=True, type=Path, help="folder of the watch's ledger and events")
    given = parser.parse_args(arguments)
    stop = Stop()
    stop.install()
    try:
        watch(load(given.settings), given.state, given.input, stop)
    except DetectorError as error:
        report_error(error.message, error.exit_code)
        return error.exit_code
    except Interrupted:
        pass
    say("stopped; started again it goes on")
    return 0
