"""Stands in for ffmpeg: lives one line of a script after the other, one each time it is started.

A life is a list of steps: ["segment", seconds of film], ["open"] (a file that is never closed), ["begun"] (one that has
no picture yet), ["word", text],
["wait", seconds], ["hang"] (deaf to everything but SIGKILL), ["record"] (until it is interrupted), ["exit", code].
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import time
from datetime import UTC, datetime
from pathlib import Path


def box(kind: bytes, size_bytes: int = 40) -> bytes:
    """A box of an MP4 file."""
    return struct.pack(">I4s", 8 + size_bytes, kind) + bytes(size_bytes)


def main() -> None:
    """Live the next life."""
    parent = os.getppid()
    script = Path(os.environ["FAKE_FFMPEG"])
    lives = json.loads(script.read_text())
    life, rest = lives[0], lives[1:] or [[["hang"]]]
    script.write_text(json.dumps(rest))
    script.with_suffix(".argv").write_text(json.dumps([sys.argv[1:], sys.stdin.read()]))
    pattern, at_s = Path(sys.argv[-1]), 0.0
    signal.signal(signal.SIGINT, lambda *_: sys.exit(255))
    for step, *given in life:
        name = datetime.now(UTC).strftime(pattern.name)
        if step == "segment":
            (pattern.parent / name).write_bytes(box(b"moov") + box(b"moof", 100) + box(b"mdat", 252))
            sys.stdout.write(f"{name},{at_s},{at_s + given[0]}\n")
            sys.stdout.flush()
            at_s += given[0]
        elif step == "open":
            (pattern.parent / name).write_bytes(box(b"moov") + box(b"moof") + box(b"mdat") + box(b"moof", 50)[:30])
        elif step == "begun":
            (pattern.parent / name).write_bytes(box(b"moov") + box(b"moof") + box(b"mdat")[:30])
        elif step == "word":
            sys.stderr.write(given[0] + "\n")
        elif step == "wait":
            time.sleep(given[0])
        elif step == "hang":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _while(parent)
        elif step == "record":
            _while(parent)
        elif step == "exit":
            sys.exit(given[0])


def _while(parent: int) -> None:
    """As long as the recorder is there: systemd ends what is left of a unit."""
    while os.getppid() == parent != 1:
        time.sleep(0.05)


if __name__ == "__main__":
    main()
