"""The whole demo on the real engine, as a user types it, with a program given by hand."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_site import REPOSITORY

from shoal.engines.bacalhau import release
from shoal.lab.down import down
from shoal.paths import state_dir
from shoal.site.document import document_path

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

NAME = "enginedemo"


@pytest.fixture
def program() -> Path:
    """The one that is given, else the cache's own."""
    if given := os.environ.get("SHOAL_BACALHAU_BINARY"):
        return Path(given)
    cached = release.cached(release.this_machine())
    assert cached is not None
    return cached.path


@pytest.fixture
def folder(tmp_path: Path, lab_environment: None) -> Iterator[Path]:
    """Where the demo is typed; its lab and documents are gone afterwards."""
    yield tmp_path
    result = down(NAME)
    assert result.clean, result.proofs
    document_path(NAME).unlink(missing_ok=True)
    (state_dir() / "secrets" / f"{NAME}.json").unlink(missing_ok=True)


def test_the_demo_with_a_program_given_by_hand(folder: Path, program: Path) -> None:
    before = release.noted(release.this_machine())
    command = ["demo", "--name", NAME, "--yes", "--engine", "bacalhau", "--bacalhau-binary", str(program)]
    done = subprocess.run(
        [sys.executable, "-m", "shoal", *command, "--stride", "20", "--img", "320"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    try:
        assert done.returncode == 0, done.stderr
        (record,) = [json.loads(path.read_text()) for path in folder.glob("runs/*/run.json")]
        assert record["engine"] == "bacalhau"
        assert {name: node["outcome"] for name, node in record["nodes"].items()} == {
            "compute-1": "finished", "compute-2": "finished",
        }  # fmt: skip
        (ran,) = record["engine_programs"]
        assert ran["sha256"] == hashlib.sha256(program.read_bytes()).hexdigest()
        assert ran["origin"] == "given"
        assert sorted(ran["runs_on"]) == ["compute-1", "compute-2", "requester"]
        assert len(list(folder.glob("runs/*/*/videos/*/detections.jsonl"))) == 12
        assert "detections in 12 videos" in done.stdout
    finally:
        if before is None and (added := release.noted(release.this_machine())):
            # The cache is the user's own: what was not in it is not left in it.
            shutil.rmtree(added.path.parent)
