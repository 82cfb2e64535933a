"""What figures are measured on and at: the processor, the load, the time and the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
"""What decides how fast a model computes."""


def machine() -> dict[str, Any]:
    """The processor and what it can, as far as the kernel names it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    named = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = named.get("flags", "").split()
    return {
        "processor": named.get("model name", platform.machine()), "cores": os.cpu_count(),
        "flags": [one for one in FLAGS if one in flags], "kernel": platform.release(),
    }  # fmt: skip


def stamp() -> dict[str, Any]:
    """When figures are measured, of which commit, and how busy the machine is before."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit.stdout.strip(),
        "load_at_the_start": round(os.getloadavg()[0], 1),
    }  # fmt: skip
