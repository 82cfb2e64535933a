"""Long films: memory stays flat (the short form of `./just endure-recordings`), and a kill costs minutes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from shoal_detect.state import segments

from shoal import waiting
from tests.detector import detector_making as making
from tests.detector import endurance

PROCESSES = 2


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


@pytest.mark.long
def test_half_an_hour_killed_at_half_loses_minutes_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 minutes at ten frames a second, every one inferred; kill -9 at half, then the same run again."""
    fps, frames = 10, 18_000
    who, folder = tmp_path / "who", tmp_path / "lib"
    (tmp_path / "in").mkdir()
    folder.mkdir()
    endurance.film(tmp_path / "in" / "long.mp4", frames, fps)
    (tmp_path / "squares.onnx").write_bytes(making.model())
    (folder / "sitecustomize.py").write_text(
        f"""
import sys
if "-m" in sys.orig_argv and "shoal_detect.child" in sys.orig_argv:
    from shoal_detect import pipeline
    look = pipeline._Eyes.look
    log = open({str(who)!r}, "a", buffering=1)
    def looking(eyes, prepared):
        log.write(f"{{prepared.frame.index}}\\n")
        return look(eyes, prepared)
    pipeline._Eyes.look = looking
"""
    )
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{making.DETECTOR}"}

    def begun(state: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*endurance.command(tmp_path, state), "--threads", str(PROCESSES)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    assert begun(tmp_path / "whole").wait() == 0
    who.unlink()
    killed = tmp_path / "killed"
    process = begun(killed)
    assert waiting.until(
        lambda: who.exists() and len(who.read_bytes().splitlines()) > frames // 2, every_s=0.5, timeout_s=900
    )
    process.kill()
    process.wait()
    before = [int(line) for line in who.read_text().splitlines() if line]
    who.unlink()
    assert begun(killed).wait() == 0
    again = {int(line) for line in who.read_text().splitlines()}
    lost_s = len(again & set(before)) / fps
    print(f"lost: {lost_s:.0f} s of footage of {frames // fps}")  # noqa: T201 - the figure of docs/speed.md
    assert again >= set(range(frames)) - set(before)
    assert lost_s <= PROCESSES * segments.LENGTH / fps, "a segment of each process"
    for path in (tmp_path / "whole" / "videos").glob("*/*.jsonl"):
        assert (killed / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()


@pytest.mark.long
def test_memory_stays_flat_over_half_an_hour(tmp_path: Path) -> None:
    seen = endurance.endure(45_000, tmp_path)
    assert seen.exit_code == 0, seen.output
    assert seen.growth_bytes < endurance.GROWTH_BYTES
