"""The version names the commit of the checkout that runs, and no other repository's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoal import __version__
from shoal.cli import app
from shoal.version import described

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *IDENTITY, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    return tmp_path


def test_the_commit_is_shown(checkout: Path) -> None:
    assert described(checkout) == f"{__version__} (commit {git(checkout, 'rev-parse', '--short=12', 'HEAD')})"


def test_a_changed_file_is_shown_too(checkout: Path) -> None:
    (checkout / "file").write_text("2")
    assert described(checkout).endswith(", changed)")


def test_a_copy_inside_of_another_repository_has_no_commit(checkout: Path) -> None:
    copy = checkout / "copy"
    copy.mkdir()
    assert described(copy) == __version__


def test_without_git_the_version_stands_alone(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert described(checkout) == __version__


def test_the_command_shows_it() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"shoal {__version__}")
