"""The text that runs on a machine: look.sh with what it has to look at set in front, and the command that begins it."""

from __future__ import annotations

import secrets
import shlex
from pathlib import Path
from typing import Literal

from shoal.check.plan import NodePlan
from shoal.check.rules.system import TIME_UNITS

LOOK = (Path(__file__).parent / "look.sh").read_text(encoding="utf-8")
STEP_LIMIT_S = 10
"""How long one question on the machine may take; a dead network file system does not answer at all."""
PACKAGES = (
    *("docker.io", "docker-ce", "moby-engine", "podman-docker", "containerd", "containerd.io", "runc"),
    *("docker-registry", "systemd-timesyncd", "chrony", "ntp", "ntpsec", "openntpd", "python3", "curl"),
)
WRITTEN = ("/usr", "/etc", "/var/lib/docker", "/var/lib/shoal", "/var/cache/apt")
"""What a deploy writes to on every machine; the videos folder comes with the plan."""


def new_mark() -> str:
    """A word that a machine's own greeting does not have."""
    return f"shoal-look-{secrets.token_hex(8)}"


def text(plan: NodePlan, mark: str, part: Literal["login", "root"]) -> str:
    """The program for one machine, as the login user or as root."""
    folders = [*WRITTEN, *([plan.videos_folder] if plan.node.has_role("compute") else [])]
    values = {
        "MARK": mark,
        "PART": part,
        "LIMIT_S": str(STEP_LIMIT_S),
        "FOLDERS": "\n".join(folders),
        "NAMES": plan.requester,
        "PACKAGES": " ".join(PACKAGES),
        "WANTED": " ".join(plan.packages),
        "ENGINE": " ".join(plan.engine_packages),
        "UNITS": " ".join(TIME_UNITS),
        "VIDEOS": plan.videos_folder,
        "CLIPS": "\n".join(plan.clips),
        "CAMERAS": "\n".join(plan.node.camera_folders),
    }
    return "\n".join(f"{key}={shlex.quote(value)}" for key, value in values.items()) + f"\n{LOOK}"


COMMAND = ("sh", "-c", 'eval "$(cat)"')
"""Runs the program from standard input, whatever shell the login has: one line without a variable of that shell."""
