"""Tokens: made once, private, never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.engines.bacalhau import secrets
from shoal.errors import ShoalError


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


def test_forgotten() -> None:
    secrets.ensure("a")
    secrets.forget("a")
    secrets.forget("a")
    assert secrets.load("a") is None
