"""`kill -9` at random moments, in its quick form."""

from __future__ import annotations

from pathlib import Path

from tests.outbox.kill import killed


def test_kills_lose_nothing_and_ship_nothing_twice(tmp_path: Path) -> None:
    seen = killed(tmp_path / "site", 40, seed=1)
    assert seen.events == 15
    assert seen.uploads == seen.objects == 30
