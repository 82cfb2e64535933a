"""The launcher `./just`: what it says on a machine that lacks what it needs, without touching the network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but the launcher, and a PATH with nothing but what POSIX promises."""
    shutil.copy(REPOSITORY / "just", tmp_path / "just")
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for tool in ("sh", "dirname", "mkdir", "cat", "cksum", "tr", "rm", "id", "awk"):
        shutil.copy(shutil.which(tool) or tool, bin_dir / tool)  # copies: a stub written over a link hits the machine
    return tmp_path


def stub(checkout: Path, name: str, script: str) -> None:
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / "bin/sh"), str(checkout / "just"), "demo"],
        env={"PATH": str(checkout / "bin"), "HOME": str(checkout)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_no_python_is_one_clear_line(checkout: Path) -> None:
    result = run(checkout)
    assert result.returncode == 4
    assert result.stderr.splitlines() == [
        "just: Python 3.11 or newer is needed, found: none. On Debian: apt-get install python3"
    ]


def test_an_old_python_is_one_clear_line_that_names_it(checkout: Path) -> None:
    stub(checkout, "python3", 'case "$1" in --version) echo Python 3.9.2 ;; *) exit 1 ;; esac')
    result = run(checkout)
    assert result.returncode == 4
    assert len(result.stderr.splitlines()) == 1
    assert "found: Python 3.9.2" in result.stderr


def test_a_newer_python_under_another_name_is_found(checkout: Path) -> None:
    stub(checkout, "python3", 'case "$1" in --version) echo Python 3.9.2 ;; *) exit 1 ;; esac')
    # New enough, but without pip, on a machine where we are not root: says what to install.
    stub(checkout, "python3.12", 'case "$2" in *pip*) exit 1 ;; *) exit 0 ;; esac')
    stub(checkout, "id", "echo 1000")
    (checkout / "requirements").mkdir()
    (checkout / "requirements" / "uv.txt").write_text("")
    result = run(checkout)
    assert result.returncode == 4
    assert "apt-get install python3-pip" in result.stderr


def test_packages_that_it_installs_are_noted_before_they_come(checkout: Path) -> None:
    stub(checkout, "python3", 'case "$2" in *pip*) exit 1 ;; *) exit 0 ;; esac')
    stub(checkout, "id", "echo 0")
    # Killed by the user while apt is at work: what it was about to bring is on record already.
    stub(
        checkout,
        "apt-get",
        'case "$*" in\n'
        "*-s*) echo 'Inst python3-wheel (0.38 Debian [all])'; echo 'Inst libc6 [2.36] (2.37 Debian [amd64])'\n"
        "    echo 'Inst python3-pip (23.0 Debian [all])'; echo 'Conf python3-pip (23.0 Debian [all])' ;;\n"
        "*install*) exit 100 ;;\nesac",
    )
    (checkout / "requirements").mkdir()
    (checkout / "requirements" / "uv.txt").write_text("")
    result = run(checkout)
    assert result.returncode == 4
    assert "apt-get could not install python3-pip" in result.stderr
    assert (checkout / ".tools" / "packages").read_text().split() == ["python3-wheel", "python3-pip"]


def test_an_apt_that_does_not_answer_is_said(checkout: Path) -> None:
    stub(checkout, "python3", 'case "$2" in *pip*) exit 1 ;; *) exit 0 ;; esac')
    stub(checkout, "id", "echo 0")
    stub(checkout, "apt-get", "echo 'no such host' >&2; exit 100")
    (checkout / "requirements").mkdir()
    (checkout / "requirements" / "uv.txt").write_text("")
    result = run(checkout)
    assert result.returncode == 4
    assert result.stderr.splitlines()[-2:] == ["no such host", "just: apt-get update failed; the lines above say why"]


def test_the_launcher_names_no_package_index() -> None:
    files = [REPOSITORY / "just", *REPOSITORY.glob("requirements/*"), REPOSITORY / "detector/requirements.txt"]
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, f"{path.name} holds an address"
        assert "index-url" not in text.replace("--no-emit-index-url", ""), path.name


def test_every_requirement_is_pinned_with_a_hash() -> None:
    for path in [*REPOSITORY.glob("requirements/*.txt"), REPOSITORY / "detector/requirements.txt"]:
        blocks = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        requirements = [line for line in blocks if line and not line.startswith("#")]
        assert requirements, path.name
        for line in requirements:
            assert "==" in line, line[:60]
            assert "--hash=sha256:" in line, line[:60]


def test_the_demo_environment_has_no_cloud_sdk_and_no_test_tools() -> None:
    runtime = (REPOSITORY / "requirements/runtime.txt").read_text(encoding="utf-8")
    names = {line.split("==")[0] for line in runtime.splitlines() if "==" in line}
    assert names.isdisjoint({"pulumi", "pulumi-gcp", "pytest", "mypy", "ruff", "onnxruntime"})


def test_it_is_executable() -> None:
    assert os.access(REPOSITORY / "just", os.X_OK)
