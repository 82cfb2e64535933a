"""A job by hand on the real engine: the very lines of docs/jobs.md, with the engine's own command line, and its key."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from engine_site import REPOSITORY, Site

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


def steps() -> str:
    """The shell block below the heading."""
    section = (REPOSITORY / "docs/jobs.md").read_text(encoding="utf-8").partition("## The job by hand")[2]
    return re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]  # type: ignore[index]  # asserted by the test


def typed(site: Site, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    program = folder / "bin" / "shoal"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m shoal "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "SHOAL_CLUSTER": str(site.lab.document),
        "SHOAL_RUNS": str(folder / "runs"),
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


def test_the_steps_of_the_docs(engine_site: Site, tmp_path: Path) -> None:
    assert "bacalhau job run" in steps()
    done = typed(engine_site, tmp_path, steps())
    assert done.returncode == 0, done.stderr
    (record,) = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/run.json")]
    assert record["template"] == "adopted"
    assert {node["outcome"] for node in record["nodes"].values()} == {"finished"}
    assert all(node["fetched"] for node in record["nodes"].values())
    assert set(record["nodes"]) == {node.name for node in engine_site.lab.cluster.compute}

    # The same file again is another run's by now, whichever way it is handed in.
    again = typed(engine_site, tmp_path, "shoal job submit job.yaml")
    assert (again.returncode, "there is a run" in again.stderr) == (2, True)
    other = typed(engine_site, tmp_path, "shoal run --run other-1 --template job.yaml")
    assert (other.returncode, "nothing was started" in other.stderr) == (2, True)


def test_a_file_that_is_handed_in_is_followed_by_resume(engine_site: Site, tmp_path: Path) -> None:
    done = typed(
        engine_site, tmp_path,
        "shoal job show --stride 25 --img 320 > job.yaml; run=$(shoal job submit job.yaml); shoal resume $run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_clients_key_can_hand_in_and_not_manage_nodes(engine_site: Site, tmp_path: Path) -> None:
    assert typed(engine_site, tmp_path, "shoal engine tunnel -- bacalhau node list").returncode == 0
    refused = typed(engine_site, tmp_path, "shoal engine tunnel -- bacalhau node reject compute-1")
    assert (refused.returncode, "Forbidden" in refused.stderr + refused.stdout) == (1, True)
    typed(engine_site, tmp_path, "shoal job show --stride 25 --img 320 > job.yaml")
    refused = typed(engine_site, tmp_path, "shoal engine tunnel --read-only -- bacalhau job run job.yaml")
    assert "Forbidden" in refused.stderr + refused.stdout
    assert typed(engine_site, tmp_path, "shoal engine tunnel -- sh -c 'exit 7'").returncode == 7
