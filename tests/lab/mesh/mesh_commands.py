"""`shoal` as a person types it, for the tests of the mesh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def shoal(*arguments: str, timeout_s: float = 1200, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shoal", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False,
        cwd=cwd,
    )  # fmt: skip
