"""Calls gcloud for what Pulumi does not do: searching for leftovers, host keys, OS Login, states of machines."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from shoal.errors import Exit, ShoalError
from shoal.untrusted import Bounds, DamagedDocumentError, json_value

TIMEOUT_S = 120.0
BOUNDS = Bounds(size_bytes=64 << 20, marks=4_000_000, text_chars=16 << 20, digits=20)
"""Of an answer: what machines say of themselves (serial ports, labels) is in it."""


def require() -> str:
    """Path of gcloud. Raises ShoalError where it is not there."""
    program = shutil.which("gcloud")
    if program is None:
        raise ShoalError(
            "the Google Cloud CLI is needed, and there is no `gcloud` on this machine",
            hint="install it: https://cloud.google.com/sdk/docs/install, then `gcloud auth login`",
            exit_code=Exit.MISSING,
        )
    return program


def text(*arguments: str) -> str:
    """What gcloud says. Raises ShoalError with its own words where it fails."""
    try:
        done = subprocess.run(
            [require(), *arguments, "--quiet"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ShoalError(f"`gcloud {' '.join(arguments[:3])}` did not answer within {TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        last = " ".join(done.stderr.split())[-400:]
        raise ShoalError(
            f"`gcloud {' '.join(arguments[:3])}` ended with exit code {done.returncode}: {last}",
            hint="see whether `gcloud auth list` shows an account and the project is right",
        )
    return done.stdout


def document(*arguments: str) -> Any:
    """The JSON that gcloud answers with."""
    said = text(*arguments, "--format=json")
    try:
        return json_value(said or "[]", source="gcloud's answer", bounds=BOUNDS)
    except DamagedDocumentError:
        raise ShoalError(f"`gcloud {' '.join(arguments[:3])}` answered with no JSON: {said[:200]}") from None


def machines(project: str, lab: str) -> list[dict[str, Any]]:
    """Every machine that carries the lab's label, as the cloud describes it."""
    found = document("compute", "instances", "list", f"--project={project}", f"--filter=labels.shoal-cluster={lab}")
    return [dict(entry) for entry in found]


def machine_states(project: str, lab: str) -> dict[str, str]:
    """State (`RUNNING`, `TERMINATED`, ...) of each machine that carries the lab's label."""
    return {entry["name"]: entry["status"] for entry in machines(project, lab)}
