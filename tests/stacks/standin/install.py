"""Puts the stand-in where the engine looks for the gcp provider: into the Pulumi home of one test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.stacks.engine import Engine
from tests.stacks.standin.cloud import Cloud
from tests.stacks.standin.server import CLOUD_VARIABLE, VERSION

REPOSITORY = Path(__file__).resolve().parents[3]


def install(engine: Engine) -> Cloud:
    """Install the stand-in as provider gcp of `engine`; the cloud that it works on is new and empty."""
    launcher = engine.root / "pulumi-resource-gcp"
    # The launcher becomes Python itself, so that the engine's process is the stand-in's parent.
    launcher.write_text(
        f'#!/bin/sh\ncd "{REPOSITORY}" && exec "{sys.executable}" -m tests.stacks.standin.server "$@"\n'
    )
    launcher.chmod(0o755)
    cloud = Cloud(engine.root / "cloud.json")
    engine.env[CLOUD_VARIABLE] = str(cloud.path)
    subprocess.run(
        [engine.install / "bin" / "pulumi", "plugin", "install", "resource", "gcp", f"v{VERSION}", "--file", launcher],
        env={**engine.env, "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )
    return cloud


def install_gcloud(folder: Path) -> None:
    """Put the stand-in's gcloud into `folder`, which belongs on PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    launcher = folder / "gcloud"
    launcher.write_text(
        f'#!/bin/sh\nPYTHONPATH="{REPOSITORY}" exec "{sys.executable}" -m tests.stacks.standin.gcloud "$@"\n'
    )
    launcher.chmod(0o755)
