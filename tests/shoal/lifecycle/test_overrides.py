"""Drop-ins of the machine's owner beside our units: told by file and setting, never by value."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from shoal.lifecycle import overrides
from shoal.lifecycle.overrides import Override

SYSTEMCTL = """#!/bin/sh
cat <<END
Id=bacalhau-compute.service
DropInPaths={folder}/debug.conf {folder}/shoal.conf /usr/lib/systemd/system/service.d/10-vendor.conf

Id=docker.service
DropInPaths=

END
"""


def test_what_a_machine_tells(tmp_path: Path) -> None:
    folder = tmp_path / "bacalhau-compute.service.d"
    folder.mkdir()
    (folder / "debug.conf").write_text("[Service]\n# Environment=x\nEnvironment=TOKEN=secret\n  MemoryMax = 1G\n")
    (folder / "shoal.conf").write_text("[Service]\nUser=x\n")
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL.format(folder=folder))
    program.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", overrides._LOOK, "look", *overrides.UNITS],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = list(overrides.read("compute-1", done.stdout))
    assert found == [
        Override("compute-1", "bacalhau-compute.service", str(folder / "debug.conf"), ("Environment", "MemoryMax"))
    ]
    assert "secret" not in done.stdout
    assert "the owner's, no deploy changes it" in str(found[0])


@pytest.mark.parametrize("line", ["", "override x", "override a.service /x \x1b[2J", "override a.service relative X,"])
def test_lines_of_a_stranger_are_passed_over(line: str) -> None:
    assert list(overrides.read("n", line)) == []
