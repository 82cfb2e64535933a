"""`shoal` as a person types it, for the tests of the mesh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Through the mesh's own device: without a peer of that address it would leave by the way that all addresses leave by.
KNOCK = (
    "python3 -c 'import socket as s; c = s.socket(); c.settimeout(5); "
    'c.setsockopt(s.SOL_SOCKET, s.SO_BINDTODEVICE, b"tailscale0"); '
    'print("open" if c.connect_ex(("{}", {})) == 0 else "closed")\''
)


def shoal(*arguments: str, timeout_s: float = 1200, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shoal", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False,
        cwd=cwd,
    )  # fmt: skip
