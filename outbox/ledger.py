"""The ledger: one entry per event, with what of it waits, was shipped or was dropped.

An entry is a file of the folder `open` until nothing of it waits, then of `closed`. Contents lie under `sha256/`, each
once, as long as an open entry waits for them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from outbox import disk

VERSION = 1
ENTRY_BYTES = 1 << 20
WAITING = "waiting"
SHIPPED = "shipped"
DROPPED = "dropped"
EVENT = "event"
CLIP = "clip"
ALERT = "alert"


class LedgerError(Exception):
    """An entry that cannot be read; the message names its file."""


@dataclass(frozen=True, slots=True)
class Part:
    """One object for the store: the event's document or its clip."""

    kind: str
    """`event` or `clip`."""
    key: str
    """Its name in the store, below the store's prefix."""
    sha256: str
    md5: str
    size_bytes: int
    state: str = WAITING
    attempts: int = 0
    """Uploads begun."""
    shipped_at_s: float | None = None
    """When it was seen in the store with size and hash; seconds since 1970, as all times here."""
    not_before_s: float = 0.0
    """Not tried again before, after something went wrong with this object alone."""
    trouble: str | None = None
    """What went wrong at the last attempt."""
    dropped_at_s: float | None = None
    why: str | None = None
    """Why it was dropped."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event."""

    id: str
    """First half of the SHA-256 of its document; of a watch's event the event's id."""
    event: str
    """The detector's id of it."""
    run: str
    camera: str
    severity: str
    """`alert` or `record`."""
    start_utc: str | None
    start_s: float
    end_s: float
    privacy: str
    collected_at_s: float
    collected_age_s: float
    """The outbox's own age then (`outbox.age`), which no clock that jumps makes larger."""
    parts: tuple[Part, ...]
    no_clip: str | None = None
    """Why it goes without a clip; None where it has one."""
    version: int = field(default=VERSION)

    def part(self, kind: str) -> Part | None:
        """Its part of that kind."""
        return next((part for part in self.parts if part.kind == kind), None)

    def with_part(self, changed: Part) -> Entry:
        """The entry with that part in place of its namesake."""
        return replace(self, parts=tuple(changed if part.kind == changed.kind else part for part in self.parts))

    @property
    def waits(self) -> bool:
        """Whether anything of it waits."""
        return any(part.state == WAITING for part in self.parts)


class Ledger:
    """The outbox's folder. Entries change under `writing()` alone, which is held for moments."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, tuple[tuple[int, int, int], Entry]] = {}

    def make(self) -> None:
        """Make its folders; those that are there stay."""
        for name in ("sha256", "open", "closed", "runs"):
            disk.folder(self.root / name)

    def writing(self) -> AbstractContextManager[int]:
        """The lock of whoever changes entries or contents."""
        return disk.locked(self.root / "ledger.lock", wait=True)

    def content(self, sha256: str) -> Path:
        """Where a content lies."""
        return self.root / "sha256" / sha256[:2] / sha256

    def open_entries(self) -> list[Entry]:
        """All of which something waits; read anew only where a file has changed. Raises LedgerError."""
        found: dict[str, tuple[tuple[int, int, int], Entry]] = {}
        if not (self.root / "open").is_dir():
            return []  # nothing has come in yet
        with os.scandir(self.root / "open") as listing:
            for item in listing:
                if not item.name.endswith(".json") or item.name.startswith("."):
                    continue
                try:
                    facts = item.stat()
                    mark = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
                    known = self._known.get(item.name)
                    found[item.name] = known if known and known[0] == mark else (mark, read(Path(item.path)))
                except FileNotFoundError:
                    continue  # closed by somebody meanwhile
        self._known = found
        return [entry for _, entry in found.values()]

    def closed_entries(self) -> Iterator[Entry]:
        """All that is done with, in no order. Raises LedgerError."""
        for path in sorted((self.root / "closed").glob("[!.]*.json")):
            try:
                yield read(path)
            except FileNotFoundError:
                continue

    def has(self, entry_id: str) -> bool:
        """Whether the event is known already."""
        return any((self.root / name / f"{entry_id}.json").exists() for name in ("open", "closed"))

    def current(self, entry_id: str) -> Entry | None:
        """The open entry as it is on the disk, None where it is open no more."""
        try:
            return read(self.root / "open" / f"{entry_id}.json")
        except FileNotFoundError:
            return None

    def latest(self, entry_id: str) -> Entry | None:
        """The entry as it is on the disk, open or closed; None where it was forgotten."""
        for name in ("open", "closed"):
            try:
                return read(self.root / name / f"{entry_id}.json")
            except FileNotFoundError:
                continue
        return None

    def save(self, entry: Entry) -> None:
        """Write an entry; one of which nothing waits is closed."""
        path = self.root / "open" / f"{entry.id}.json"
        disk.write_json(path, asdict(entry))
        if not entry.waits:
            disk.move(path, self.root / "closed" / path.name)

    def forget(self, entry: Entry) -> None:
        """Take an entry away from the closed ones, if it is among them."""
        disk.remove(self.root / "closed" / f"{entry.id}.json")

    def mend(self) -> None:
        """After a kill: close what is done, remove halves and contents that nothing waits for. Under `writing()`."""
        wanted: set[str] = set()
        for name in ("open", "closed", "runs", "sha256"):
            for part in (self.root / name).glob(f".*{disk.PART}"):
                disk.remove(part)
        for entry in self.open_entries():
            if entry.waits:
                # Open again for its clip: the closed one gives way.
                disk.remove(self.root / "closed" / f"{entry.id}.json")
                wanted.update(part.sha256 for part in entry.parts if part.state == WAITING)
            else:
                self.save(entry)
        for content in (self.root / "sha256").glob("*/*"):
            if content.name not in wanted:
                disk.remove(content)

    def release(self, sha256: str) -> None:
        """Remove a content unless something waits for it. Under `writing()`."""
        waiting = {part.sha256 for entry in self.open_entries() for part in entry.parts if part.state == WAITING}
        if sha256 not in waiting:
            disk.remove(self.content(sha256))


def read(path: Path) -> Entry:
    """The entry in a file. Raises FileNotFoundError and LedgerError."""
    try:
        with disk.plain_file(path) as stream:
            return parsed(json.loads(stream.read(ENTRY_BYTES)))
    except FileNotFoundError:
        raise
    except (OSError, disk.NotPlainError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise LedgerError(f"{path}: no entry of this version ({type(error).__name__}: {error})") from None


def parsed(document: Mapping[str, Any]) -> Entry:
    """An entry of its document. Raises TypeError, KeyError and ValueError."""
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']}")
    fields = {**document, "parts": tuple(Part(**part) for part in document["parts"])}
    return Entry(**fields)
