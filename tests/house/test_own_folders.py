"""Tests read and write nothing of the person's who types them, but for downloads, which they cannot change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal import paths
from tests import own_folders

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """A home with a cache in it that holds an engine's program, and a lock that somebody holds."""
    home = tmp_path / "home"
    for name in ("artifacts/ab/abc/model.onnx", "images/base-1.tar", "bacalhau/amd64/bacalhau", "images/.lock"):
        (home / "cache" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "cache" / name).write_text("the person's")
    return home


def test_downloads_are_shared_and_the_engines_program_is_not(person: Path, tmp_path: Path) -> None:
    own_folders.share(person / "cache", tmp_path / "own")
    found = sorted(str(path.relative_to(tmp_path / "own")) for path in (tmp_path / "own").rglob("*") if path.is_file())
    assert found == ["artifacts/ab/abc/model.onnx", "images/base-1.tar"]


def test_what_is_replaced_or_removed_stays_the_persons(person: Path, tmp_path: Path) -> None:
    own_folders.share(person / "cache", tmp_path / "own")
    (tmp_path / "new").write_text("the session's")
    (tmp_path / "new").replace(tmp_path / "own" / "artifacts/ab/abc/model.onnx")
    (tmp_path / "own" / "images/base-1.tar").unlink()
    theirs = person / "cache"
    assert (theirs / "artifacts/ab/abc/model.onnx").read_text() == "the person's"
    assert (theirs / "images/base-1.tar").read_text() == "the person's"


def test_this_session_has_folders_of_its_own() -> None:
    """Whichever cluster, engine and folder the person who types it has set."""
    theirs = own_folders.downloads()
    assert paths.cache_dir() != theirs
    assert paths.state_dir() != Path(os.environ[own_folders.PERSON_STATE])
    assert not set(own_folders.MEANT) & set(os.environ)


def test_a_session_begins_alike_whatever_the_person_has(person: Path, tmp_path: Path) -> None:
    """A session of its own, typed with all of it set, asks which program there is and where things lie."""
    test = tmp_path / "test_asked.py"
    test.write_text(
        "import os\n"
        "from shoal import paths\n"
        "from shoal.engines.bacalhau import release\n"
        "def test_asked():\n"
        f"    for folder in (paths.cache_dir(), paths.state_dir()):\n"
        f"        assert not str(folder).startswith({str(person)!r})\n"
        "    assert release.noted('amd64') is None\n"
        "    assert 'SHOAL_CLUSTER' not in os.environ\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SHOAL_", "GIT_CONFIG"))}
    told = {"SHOAL_CACHE": person / "cache", "SHOAL_STATE": person / "state", "SHOAL_CLUSTER": person / "other.json"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-c",
         str(ROOT / "pyproject.toml"), "--confcutdir", str(ROOT), "-p", "tests.conftest", str(test)],
        cwd=ROOT, env=environment | {name: str(path) for name, path in told.items()},
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (person / "state").exists()
