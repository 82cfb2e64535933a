"""Run folders as the detector leaves them, an outbox in a folder, and a store that lives in memory."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outbox import age, retention
from outbox.collect import Collected, Scan
from outbox.ledger import Ledger
from outbox.settings import Settings
from outbox.store import Seen, StoreError
from outbox.trouble import Trouble

DAY = "2026-11-30"


def event(
    number: int = 1,
    *,
    severity: str = "alert",
    clip: bytes | None = b"clip",
    state: str = "verified",
    start_utc: str | None = "",
    **more: Any,
) -> tuple[dict[str, Any], bytes | None]:
    """An event's document and its clip's bytes. Later numbers happened later."""
    event_id = f"{number:032x}"
    document: dict[str, Any] = {
        "version": 1,
        "id": event_id,
        "camera": "yard",
        "videos": ["yard.mp4"],
        "start_utc": f"{DAY}T{number // 60 % 24:02}:{number % 60:02}:00.000Z" if start_utc == "" else start_utc,
        "end_utc": None,
        "start_s": float(number),
        "end_s": number + 4.0,
        "severity": severity,
        "rule": "people",
        "reason": "a person came",
        "privacy": "people",
        "objects": [
            {
                "track": 1,
                "class": "person",
                "confidence": 0.9,
                "severity": severity,
                "rule": "people",
                "start_s": float(number),
                "end_s": number + 4.0,
                "box": [0.1, 0.1, 0.2, 0.2],
                "path": [[float(number), 0.1, 0.2]],
            }
        ],
        "key_frame": None,
        "clip": None,
    }
    if clip is not None:
        kept = state == "verified"
        document["clip"] = {
            "file": f"clips/{event_id}.mp4" if kept else None,
            "sha256": hashlib.sha256(clip).hexdigest() if kept else None,
            "size_bytes": len(clip) if kept else None,
            "frames": 10 if kept else None,
            "start_s": float(number),
            "end_s": number + 4.0,
            "state": state,
            "reason": None if kept else "a person is seen in it",
        }
    return {**document, **more}, clip


def run_folder(
    runs: Path,
    name: str,
    events: Sequence[tuple[dict[str, Any], bytes | None]],
    *,
    finished: bool = True,
    extra_lines: bytes = b"",
) -> Path:
    """A run's folder with these events and their clips."""
    folder = runs / name
    (folder / "clips").mkdir(parents=True)
    (folder / "quarantine").mkdir()
    for document, clip in events:
        if clip is not None:
            verified = (document["clip"] or {}).get("state") == "verified"
            (folder / ("clips" if verified else "quarantine") / f"{document['id']}.mp4").write_bytes(clip)
    lines = b"".join(json.dumps(document, sort_keys=True).encode() + b"\n" for document, _ in events) + extra_lines
    (folder / "events.jsonl").write_bytes(lines)
    (folder / "lock").touch()
    if finished:
        finish(folder)
    return folder


def finish(folder: Path) -> None:
    """Write the manifest, which says that the run is done."""
    listed = [path for path in sorted(folder.rglob("*")) if path.is_file() and "quarantine" not in path.parts]
    document = {
        "schema_version": 1,
        "run": folder.name,
        "finished_at": f"{DAY}T12:00:00Z",
        "exit_code": 0,
        "files": [
            {
                "path": str(path.relative_to(folder)),
                "size_bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in listed
            if path.name != "lock"
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(document))


@dataclass(slots=True)
class Bench:
    """A node's outbox in a folder."""

    settings: Settings
    ledger: Ledger
    warned: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    free: int = 1 << 50

    @property
    def runs(self) -> Path:
        """Where its run folders lie."""
        return Path(self.settings.sources[0])

    def collect(self, now_s: float | None = None) -> Collected:
        """One scan of the collector's."""
        return Scan(
            self.settings,
            self.ledger,
            time.time() if now_s is None else now_s,
            lambda wanted: self.free - wanted >= self.settings.disk_floor_bytes,
            self.warned.append,
        ).collect()

    def tidy(self, now_s: float) -> retention.Tidied:
        """One round of retention."""
        now = age.advance(self.ledger.root, now_s)
        return retention.Keeper(self.settings, self.ledger, now, lambda: self.free, self.warned.append).tidy()


def bench(folder: Path, **settings: Any) -> Bench:
    """An empty outbox and an empty folder of runs."""
    root, runs = folder / "outbox", folder / "runs"
    for path in (root, runs):
        path.mkdir(parents=True)
    given = {
        "node": "gate-1",
        "remote": "store:bucket",
        "to": "s3:bucket",
        "rclone": "rclone",
        "rclone_config": "/nonexistent",
        "root": str(root),
        "sources": (str(runs),),
        "disk_floor_bytes": 0,
    }
    made = Bench(Settings(**{**given, **settings}), Ledger(root))
    made.ledger.make()
    return made


@dataclass(slots=True)
class MemoryStore:
    """A store in memory; counts uploads, and fails as it is told to."""

    objects: dict[str, bytes] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)
    looks: int = 0
    hashes: bool = True
    fail: list[Trouble | None] = field(default_factory=list)
    """For the next uploads; None lets one pass."""
    lose_acknowledgement: bool = False

    def look(self, key: str) -> Seen | None:
        self.looks += 1
        data = self.objects.get(key)
        return None if data is None else Seen(len(data), hashlib.md5(data).hexdigest() if self.hashes else None)

    def put(self, source: Path, key: str, size_bytes: int, rate: str = "") -> int:
        if self.fail and (trouble := self.fail.pop(0)):
            raise StoreError(trouble, 0)
        data = source.read_bytes()
        assert len(data) == size_bytes
        self.puts.append(key)
        self.objects[key] = data
        if self.lose_acknowledgement:
            self.lose_acknowledgement = False
            raise StoreError(Trouble("link", "the link went down"), len(data))
        return len(data)

    def read_back(self, key: str, size_bytes: int) -> tuple[str, int]:
        data = self.objects[key]
        return hashlib.sha256(data).hexdigest(), len(data)
