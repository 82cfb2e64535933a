"""What control groups give: read from both versions of the kernel's interface, and held to by what is handed out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from shoal import node_limits
from shoal.node_limits import Limits

UNLIMITED_V1 = "9223372036854771712"


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({"cpu.max": "100000 100000", "memory.max": "629145600"}, Limits(1.0, 629145600)),
        ({"cpu.max": "max 100000", "memory.max": "max"}, Limits()),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, Limits(0.5)),
        ({"cpu/cpu.cfs_quota_us": "-1", "memory/memory.limit_in_bytes": UNLIMITED_V1}, Limits()),
        ({"memory/memory.limit_in_bytes": "8589934592"}, Limits(None, 8589934592)),
        ({}, Limits()),
    ],
)
def test_limits_of_both_versions(tmp_path: Path, files: dict[str, str], limits: Limits) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    script = node_limits.SCRIPT.replace("/sys/fs/cgroup", str(tmp_path))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert node_limits.read(done.stdout.splitlines()) == limits


@pytest.mark.parametrize(
    ("wanted", "cpus", "given"),
    [
        ("80%", None, "80%"),
        ("80%", 1.0, "0.80"),
        ("1.5", 1.0, "1.00"),
        ("0.5", 1.0, "0.5"),
        ("500m", 1.0, "500m"),
        ("1500m", 1.0, "1.00"),
        ("100%", 0.001, "0.01"),
    ],
)
def test_processors_within_the_limits(wanted: str, cpus: float | None, given: str) -> None:
    assert node_limits.cpus_within(wanted, Limits(cpus)) == given


def test_memory_within_the_limits() -> None:
    assert node_limits.memory_within("80%", Limits(None, 600 * 2**20)) == "503MB"
    assert node_limits.memory_within("80%", Limits()) == "80%"
    assert node_limits.memory_within("2GB", Limits(None, 600 * 2**20)) == "2GB"


@pytest.mark.parametrize("line", ["limit-cpus x", "limit-cpus 1e400", "limit-memory -5", "limit-cpus " + "9" * 400])
def test_lines_of_a_stranger_are_no_limits(line: str) -> None:
    assert node_limits.read([line]) == Limits()
