"""What is installed: an editable checkout, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from rooms import REPOSITORY

FILES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE")
FOLDERS = ("shoal", "roles", "inventories", "deploy", "stacks")


def install(source: Path, target: Path, *how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    return subprocess.run(
        [*command, "--target", str(target), *how, str(source)], capture_output=True, text=True, check=False, timeout=120
    )


def checkout(folder: Path) -> Path:
    folder.mkdir()
    for name in FILES:
        shutil.copy(REPOSITORY / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_a_wheel_is_not_offered_and_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    done = install(checkout(tmp_path / "checkout"), tmp_path / "site")
    assert done.returncode != 0
    assert "shoal runs from a checkout" in done.stderr
    assert "pip install --editable ." in done.stderr
    assert not list((tmp_path / "site").glob("shoal*"))


def test_an_editable_installation_is(tmp_path: Path) -> None:
    done = install(checkout(tmp_path / "checkout"), tmp_path / "site", "--editable")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "site").glob("*.pth"))
