"""A power cut at every single step from the run's folder to `shipped`, with what was not synced lost or torn."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from outbox import disk, ship
from outbox.ledger import SHIPPED, Ledger
from tests.outbox.making import Bench, MemoryStore, bench, event, run_folder
from tests.outbox.power import Disk

SEEDS = int(os.environ.get("SHOAL_POWER_CUT_SEEDS", "1"))
"""What the disk keeps at each cut, drawn so many times."""


class PowerCutError(BaseException):
    """The machine is off."""


class RememberingStore(MemoryStore):
    """Takes an upload, and the cut may come before the acknowledgement: the next step of the disk's is after it."""


def _work(made: Bench, store: MemoryStore) -> None:
    made.tidy(1_800_000_000.0)
    made.collect(1_800_000_000.0)
    ship.ship(made.settings, made.ledger, store, made.said.append, lambda: 1_800_000_000.0)


def _site(folder: Path) -> Bench:
    made = bench(folder)
    run_folder(made.runs, "run-1", [event(1, clip=b"first " * 50), event(2, severity="record", clip=b"second " * 50)])
    run_folder(made.runs, "run-2", [event(3, state="quarantined")])
    return made


def _steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    made = _site(tmp_path / "whole")
    recording = Disk()
    recording.take_over(made.ledger.root)
    monkeypatch.setattr(disk, "os", recording)
    _work(made, MemoryStore())
    monkeypatch.undo()
    assert made.ledger.open_entries() == []
    return recording.count


def test_a_power_cut_at_every_step_loses_nothing_and_ships_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = _steps(tmp_path, monkeypatch)
    assert steps > 100
    for cut in range(steps):
        for seed in range(SEEDS):
            _cut(tmp_path / f"cut-{cut}-{seed}", monkeypatch, cut, random.Random(cut * 1000 + seed))


def _cut(folder: Path, monkeypatch: pytest.MonkeyPatch, cut: int, dice: random.Random) -> None:
    made = _site(folder / "before")
    store = RememberingStore()
    failing = Disk()

    def before() -> None:
        if failing.count >= cut:
            raise PowerCutError

    failing.before = before
    failing.take_over(made.ledger.root)
    monkeypatch.setattr(disk, "os", failing)
    with pytest.raises(PowerCutError):
        _work(made, store)
    monkeypatch.undo()
    monkeypatch.setattr(disk.os, "fsync", lambda handle: None)  # the machine that comes up again stays up
    root = folder / "after"
    failing.left_behind(dice, made.ledger.root, root)
    after = Bench(type(made.settings)(**{**_fields(made), "root": str(root)}), Ledger(root), made.warned, made.said)
    after.ledger.make()
    _work(after, store)
    assert after.ledger.open_entries() == [], f"cut at {cut}"
    entries = list(after.ledger.closed_entries())
    assert len(entries) == 3, f"cut at {cut}"
    parts = [part for entry in entries for part in entry.parts]
    assert {part.state for part in parts} == {SHIPPED}, f"cut at {cut}: {after.said}"
    assert {part.key: part.sha256 for part in parts} == {
        key: disk.content_of(data).sha256 for key, data in store.objects.items()
    }, f"cut at {cut}"
    assert len(parts) == 5
    assert Counter(store.puts).most_common(1)[0][1] == 1, f"cut at {cut}: uploaded twice"
    assert [path for path in (root / "sha256").rglob("*") if path.is_file()] == [], f"cut at {cut}"


def _fields(made: Bench) -> dict[str, object]:
    return {name: getattr(made.settings, name) for name in type(made.settings).__dataclass_fields__}


def test_the_model_loses_what_is_not_synced(tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    root = tmp_path / "root"
    root.mkdir()
    recording = Disk()
    recording.take_over(root)
    handle = recording.open(root / "a", 0o101)  # O_WRONLY | O_CREAT
    recording.write(handle, b"text")
    recording.close(handle)
    seen = set()
    for seed in range(20):
        target = tmp_path / str(seed)
        target.mkdir()
        recording.left_behind(random.Random(seed), root, target)
        seen.add((target / "a").read_bytes() if (target / "a").exists() else None)
    assert {None, b"", b"text"} <= seen
