"""The short form of `./just endure-recordings`."""

from __future__ import annotations

from pathlib import Path

from tests.detector import endurance


def test_memory_does_not_grow_with_the_length_of_a_film(tmp_path: Path) -> None:
    seen = endurance.endure(6000, tmp_path)
    assert seen.exit_code == 0, seen.output
    assert "6000" in seen.output
    assert len(seen.bytes_used) >= 10
    assert seen.growth_bytes < endurance.GROWTH_BYTES


def test_growth_is_seen() -> None:
    steady, growing = [100 << 20] * 50, [(100 + 2 * step) << 20 for step in range(50)]
    assert endurance.Endured(0, "", steady).growth_bytes == 0
    assert endurance.Endured(0, "", growing).growth_bytes > endurance.GROWTH_BYTES
