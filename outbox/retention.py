"""What goes when it is old or the disk is nearly full: what was shipped first, records before alerts, clips alone.

What waits is never dropped silently: each drop stays in the ledger with its reason and is a line at error level.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from outbox.age import Age
from outbox.collect import NEW, RUN, run_folders
from outbox.disk import read_json
from outbox.ledger import ALERT, CLIP, DROPPED, SHIPPED, WAITING, Entry, Ledger, Part
from outbox.order import when
from outbox.settings import DAY_S, Settings
from outbox.telling import Say

KEEP_DROPPED_DAYS = 365
PRUNED = ".pruned-"
"""In front of the name of a run's folder while it is removed, as `shoal results prune` does."""

Free = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Tidied:
    """What went."""

    forgotten: int = 0
    """Entries of the ledger."""
    runs: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """Keys of what had not been shipped."""


def free_bytes(path: Path) -> int:
    """What others than root may still write there."""
    facts = os.statvfs(path)
    return facts.f_bavail * facts.f_frsize


@dataclass(frozen=True, slots=True)
class Keeper:
    """What retention goes by at one moment."""

    settings: Settings
    ledger: Ledger
    age: Age
    free: Free
    warn: Say

    def tidy(self) -> Tidied:
        """Keep the ages, then the disk's floor."""
        forgotten = self._forget()
        dropped = [*self._too_old()]
        runs = [*self._old_runs()]
        more_runs, more_dropped = self.make_room(0)
        return Tidied(forgotten, (*runs, *more_runs), (*dropped, *more_dropped))

    def make_room(self, wanted_bytes: int) -> tuple[list[str], list[str]]:
        """Names of run folders and keys that went so that `wanted_bytes` can be written above the floor, as far as
        it goes.

        Clips alone: an event's document is small, and records that there was a clip.
        """
        runs: list[str] = []
        dropped: list[str] = []
        floor = self.settings.disk_floor_bytes

        def short() -> bool:
            return self.free() - wanted_bytes < floor

        if not short():
            return runs, dropped
        for folder in self._shipped_runs():
            if not short():
                return runs, dropped
            if _remove_run(folder):
                self.warn(f"run {folder.name}: its folder is removed: all of it was shipped, the disk is at its floor")
                runs.append(folder.name)
        for entry, part in _droppable(self.ledger):
            if not short():
                break
            if self._drop(entry, part, f"disk floor: less than {floor} bytes were free"):
                dropped.append(part.key)
        return runs, dropped

    def _drop(self, entry: Entry, part: Part, why: str) -> bool:
        with self.ledger.writing():
            current = self.ledger.current(entry.id)
            now = current.part(part.kind) if current else None
            if current is None or now is None or now.state != WAITING:
                return False
            dropped = replace(now, state=DROPPED, dropped_at_s=self.age.looked_at_s, why=why)
            self.ledger.save(current.with_part(dropped))
            self.ledger.release(part.sha256)
        self.warn(f"dropped {part.key} of camera {entry.camera} ({entry.severity}, {part.size_bytes} bytes): {why}")
        return True

    def _too_old(self) -> Iterator[str]:
        for entry in self.ledger.open_entries():
            alert = entry.severity == ALERT
            days = self.settings.keep_alerts_days if alert else self.settings.keep_records_days
            if self.age.age_s - entry.collected_age_s <= days * DAY_S:
                continue
            for part in entry.parts:
                if part.state == WAITING and self._drop(entry, part, f"waited longer than {days} days"):
                    yield part.key

    def _forget(self) -> int:
        """Entries of what was shipped long ago, of run folders that are gone: they would come in again otherwise."""
        there = {folder.name for folder in run_folders(self.settings)}
        gone = 0
        for entry in self.ledger.closed_entries():
            dropped = any(part.state == DROPPED for part in entry.parts)
            days = max(self.settings.keep_ledger_days, KEEP_DROPPED_DAYS if dropped else 0)
            if entry.run not in there and self.age.age_s - entry.collected_age_s > days * DAY_S:
                with self.ledger.writing():
                    self.ledger.forget(entry)
                gone += 1
        return gone

    def _old_runs(self) -> Iterator[str]:
        days = self.settings.keep_runs_days
        if days is None:
            return
        for folder in self._shipped_runs():
            # By the clock: a manifest has no other date. A step ahead removes early, and nothing that was not shipped.
            old = self.age.looked_at_s - (folder / "manifest.json").stat().st_mtime > days * DAY_S
            if old and _remove_run(folder):
                self.warn(f"run {folder.name}: its folder is removed, it is older than {days} days")
                yield folder.name

    def _shipped_runs(self) -> list[Path]:
        """Finished run folders that came in, of which everything was shipped; the oldest first."""
        unshipped = {entry.run for entry in self.ledger.open_entries()}
        unshipped |= {
            entry.run for entry in self.ledger.closed_entries() if any(part.state != SHIPPED for part in entry.parts)
        }
        found = [
            folder
            for folder in run_folders(self.settings)
            if (folder / "manifest.json").is_file()
            and folder.name not in unshipped
            # The watch makes its clip of what lies there, and removes it then.
            and not folder.name.startswith(NEW)
            and _faultless(self.ledger, folder.name)
        ]
        return sorted(found, key=lambda folder: (folder / "manifest.json").stat().st_mtime)


def _droppable(ledger: Ledger) -> list[tuple[Entry, Part]]:
    waiting = [
        (entry, part)
        for entry in ledger.open_entries()
        for part in entry.parts
        if part.kind == CLIP and part.state == WAITING
    ]
    return sorted(waiting, key=lambda item: (item[0].severity == ALERT, when(item[0])))


def _faultless(ledger: Ledger, run: str) -> bool:
    """Whether the run came in and all its events could be read: a folder that somebody has to look at stays.

    One without events stays too: nothing of it is anywhere else.
    """
    mark = read_json(ledger.root / "runs" / f"{run}.json") or {}
    return mark.get("faults") == 0 and bool(mark.get("events"))


def _remove_run(folder: Path) -> bool:
    """Under the run's own lock, renamed first, so that half of one is never taken for a run."""
    if not RUN.fullmatch(folder.name):
        return False
    gone = folder.with_name(PRUNED + folder.name)
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return False  # no detector's: the folder belongs to a container, and somebody has to look at it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.rename(gone)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    shutil.rmtree(gone)
    return True
