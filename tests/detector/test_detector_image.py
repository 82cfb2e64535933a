"""What is left out of the image: a list that would no longer match what is installed ends the build."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.detector.detector_making import DETECTOR

PROGRAM = DETECTOR / "install-packages"
KEPT = (
    "onnxruntime/capi/onnxruntime_pybind11_state.so",
    "openvino/libs/libopenvino_intel_cpu_plugin.so",
    "av/frame.so",
)
PIP = """#!/bin/sh
case "$*" in *" install "*) cp -r "$INSTALLED" "$TARGET" ;; esac
"""


def _patterns() -> list[str]:
    """Everything that the program removes by name."""
    text = PROGRAM.read_text(encoding="utf-8").replace("\\\n", " ")
    found = [
        word.strip("'\"")
        for line in re.findall(r"^\s*remove ([^(#\n]+)$", text, re.MULTILINE)
        for word in line.split()
        if "$part" not in word
    ]
    (parts,) = re.findall(r"for part in ([^;]+);", text)
    return found + [f"openvino/libs/libopenvino_{part}.so*" for part in parts.split()]


def _install(tmp_path: Path, *, without: str = "", openvino: bool = True) -> subprocess.CompletedProcess[str]:
    installed = tmp_path / "installed"
    names = [*(one.replace("*", "1") for one in _patterns() if one != without), *KEPT, "numpy/tests/a.py"]
    for name in names:
        if openvino or not name.startswith("openvino/"):
            (installed / name).parent.mkdir(parents=True, exist_ok=True)
            (installed / name).write_text("")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text(PIP)
    (tmp_path / "bin" / "python3").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", str(PROGRAM), str(tmp_path), str(tmp_path / "target")],
        env={"PATH": path, "INSTALLED": str(installed), "TARGET": str(tmp_path / "target")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_list_holds_what_is_large_and_never_read() -> None:
    assert {"onnxruntime/capi/libonnxruntime.so.*", "openvino/include", "numpy/f2py"} <= set(_patterns())
    assert len(_patterns()) > 20


@pytest.mark.parametrize("openvino", [True, False])
def test_what_the_container_never_reads_is_left_out(tmp_path: Path, openvino: bool) -> None:
    done = _install(tmp_path, openvino=openvino)
    assert done.returncode == 0, done.stderr
    target = tmp_path / "target"
    left = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert left == {one for one in KEPT if openvino or not one.startswith("openvino/")}


@pytest.mark.parametrize("stale", ["onnxruntime/tools", "openvino/libs/libopenvino_c.so*", "numpy/f2py"])
def test_a_name_that_is_no_longer_there_ends_the_build(tmp_path: Path, stale: str) -> None:
    done = _install(tmp_path, without=stale)
    assert done.returncode == 1
    assert stale in done.stderr
