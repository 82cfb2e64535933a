"""The short form of `./just fuzz-recordings`."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.detector.read import fuzz


def test_a_few_dozen_damaged_files_neither_hang_nor_crash_nor_raise(tmp_path: Path) -> None:
    found = fuzz.fuzz(60, 1, tmp_path)
    assert (found.bad, found.files) == ([], 60)
    assert sum(found.kinds.values()) == 60
    assert len(found.kinds) > 2


def test_a_process_that_dies_is_found_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fuzz.damaged

    def deadly(data: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.3:
            os.kill(os.getpid(), signal.SIGSEGV)
        return whole(data, chance)

    monkeypatch.setattr(fuzz, "damaged", deadly)
    found = fuzz.fuzz(12, 1, tmp_path)
    assert found.files == 12
    assert found.bad
    assert all("died of SIGSEGV" in line for line in found.bad)
    assert found.kinds
