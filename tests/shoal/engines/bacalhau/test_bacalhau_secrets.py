"""Tokens: made once, private, never shown."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from shoal.engines.bacalhau import secrets
from shoal.errors import Exit, ShoalError


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))


def test_made_once_and_private() -> None:
    assert secrets.load("a") is None
    made = secrets.ensure("a")
    assert secrets.ensure("a") == made
    assert secrets.path("a").stat().st_mode & 0o777 == 0o600
    values = {
        made.node_token.get_secret_value(),
        made.control_key.get_secret_value(),
        made.reader_key.get_secret_value(),
    }
    assert len(values) == 3
    assert all(20 <= len(value) <= 255 for value in values)  # what the engine takes as a key
    assert not any(value in repr(made) or value in str(made) for value in values)


def test_open_to_others_is_refused() -> None:
    secrets.ensure("a")
    secrets.path("a").chmod(0o644)
    with pytest.raises(ShoalError, match="can be read by others"):
        secrets.load("a")


def test_a_damaged_file_is_refused_without_showing_it() -> None:
    secrets.ensure("a")
    secrets.path("a").write_text('{"node_token": "very-secret"')
    with pytest.raises(ShoalError, match="damaged") as error:
        secrets.load("a")
    assert "very-secret" not in str(error.value)


def test_a_key_that_the_engine_would_not_take_is_refused_at_once_with_the_reason() -> None:
    made = json.loads(secrets.ensure("a").model_dump_json())
    secrets.path("a").write_text(json.dumps({**made, "control_key": "short-secret", "reader_key": "x" * 19}))
    with pytest.raises(ShoalError, match="too short: the engine would refuse") as error:
        secrets.load("a")
    assert "control_key: has 12 characters, at least 20 are needed" in str(error.value)
    assert "reader_key: has 19 characters" in str(error.value)
    assert "short-secret" not in str(error.value)
    assert error.value.exit_code is Exit.USAGE


def test_the_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        secrets.ensure("a")
    finally:
        os.umask(before)
    assert secrets.path("a").parent.stat().st_mode & 0o777 == 0o700
    secrets.path("a").parent.chmod(0o755)  # as an earlier version left it
    secrets.ensure("a")
    assert secrets.path("a").parent.stat().st_mode & 0o777 == 0o700


def test_forgotten() -> None:
    secrets.ensure("a")
    secrets.forget("a")
    secrets.forget("a")
    assert secrets.load("a") is None
