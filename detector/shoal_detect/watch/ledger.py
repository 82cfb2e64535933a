"""Which files of a camera are done: a line each, written when the events of the file are where they belong."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from shoal_detect.state import lines, store
from shoal_detect.state.store import Document

FORGET_S = 14 * 86_400.0
"""Lines of files that are gone stay so long."""
COUNTED = "counted"
"""In the totals: the files whose lines were let go of last."""


def camera_folder(state: Path, camera: str) -> Path:
    """Where a camera's ledger and what is carried over lie."""
    return state / "cameras" / camera


@dataclass
class Ledger:
    """Of one camera."""

    state: Path
    root: str
    camera: str
    known: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    last: Document | None = None

    @property
    def path(self) -> Path:
        """Its file."""
        return camera_folder(self.state, self.camera) / "ledger.jsonl"

    def load(self) -> None:
        """Read it, and let go of old lines of files that are gone. Raises DetectorError(STATE)."""
        folder = self.path.parent
        with store.state_errors("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.forget()
        totals = store.read_json(folder / "totals.json") or {}
        totals.pop(COUNTED, None)
        self.counts = Counter(totals)
        for line in lines.read(self.path):
            self._note(line)

    def forget(self) -> None:
        """Let go of old lines of files that are gone: counted, and known no more. Raises DetectorError(STATE)."""
        dropped = {
            line["segment"]: line
            for line in lines.read(self.path)
            if line["at_s"] < time.time() - FORGET_S and not os.path.lexists(os.path.join(self.root, line["segment"]))  # noqa: PTH118 - any bytes
        }
        if dropped:
            totals = self.path.with_name("totals.json")
            before = store.read_json(totals) or {}
            # Of those the line is counted, though a power cut left it in the ledger.
            counted = frozenset(before.pop(COUNTED, ()))
            for name, line in dropped.items():
                if name not in counted:
                    _count(before, line)
            store.write_file(totals, store.to_json_line({**before, COUNTED: [*dropped]}))
            lines.shorten(self.path, lambda line: line["segment"] not in dropped)
            self.known -= dropped.keys()

    def add(self, line: Document) -> None:
        """One more file is done. Raises DetectorError(STATE)."""
        lines.append(self.path, line)
        self._note(line)

    def _note(self, line: Document) -> None:
        if line["segment"] not in self.known:
            self.known.add(line["segment"])
            _count(self.counts, line)
        if not line.get("gone"):
            self.last = line


def _count(counts: Document | Counter[str], line: Document) -> None:
    for name, value in (
        ("segments", 1),
        ("frames", line["frames"]),
        ("seconds", line["seconds"]),
        ("faulty", int(bool(line["fault"]))),
        ("gone", int(bool(line.get("gone")))),
        ("events", len(line["events"])),
    ):
        counts[name] = counts.get(name, 0) + value
