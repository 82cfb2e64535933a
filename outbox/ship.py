"""The shipper: one object after the other, the weightiest first, each looked for before and after its upload.

`Shipped` is what was seen in the store with size and hash. A kill at any moment costs at most the upload in hand, and
not even that where it had arrived.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from outbox import disk, order
from outbox.budget import Budget
from outbox.ledger import DROPPED, SHIPPED, WAITING, Entry, Ledger, Part
from outbox.order import LONGEST_WAIT_S
from outbox.settings import Settings
from outbox.store import Seen, Store, StoreError
from outbox.telling import Say
from outbox.timetable import PAUSE
from outbox.trouble import Trouble

FIRST_WAIT_S = 5.0
IN_A_ROW = 3
"""So many objects that fail one after the other are a store that fails."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Backoff:
    """When the store is asked again, after it failed; kept over restarts."""

    failures: int = 0
    not_before_s: float = 0.0
    since_s: float = 0.0
    """Since when it fails."""
    code: str = ""
    text: str = ""


@dataclass(slots=True)
class Shipment:
    """What one round did."""

    shipped: int = 0
    found_there: int = 0
    """Of these, seen in the store before an upload was begun."""
    sent_bytes: int = 0
    why_ended: str = "nothing waits"
    trouble: Trouble | None = None
    order: list[str] = field(default_factory=list)
    """Keys, as they were shipped."""


def wait_s(failures: int, jitter: float) -> float:
    """How long to wait after so many failures in a row; `jitter` between 0 and 1 keeps nodes from coming at once."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 30)) * (0.5 + jitter / 2)


def ship(settings: Settings, ledger: Ledger, store: Store, say: Say, now: Clock = time.time) -> Shipment:
    """Ship what waits until nothing is left, nothing fits or the store fails. The caller holds the shipper's lock.

    Raises LedgerError and ValueError where the outbox's own files are damaged, and OSError of this machine's disk.
    """
    budget = Budget(ledger.root / "budget.json", settings.budget_bytes_per_day)
    with ledger.writing():
        ledger.mend()
    budget.recover(now())
    return _Round(settings, ledger, store, budget, say, now).run()


def backoff_of(root: Path) -> Backoff:
    """The kept one. Raises ValueError where it is damaged."""
    document = disk.read_json(root / "backoff.json")
    if document is None:
        return Backoff()
    try:
        return Backoff(**{name: value for name, value in document.items() if name != "version"})
    except TypeError as error:
        raise ValueError(f"{root / 'backoff.json'} is damaged: {error}") from None


@dataclass(slots=True)
class _Round:
    settings: Settings
    ledger: Ledger
    store: Store
    budget: Budget
    say: Say
    now: Clock
    done: Shipment = field(default_factory=Shipment)
    backoff: Backoff = field(default_factory=Backoff)
    in_a_row: int = 0

    def run(self) -> Shipment:
        self.backoff = backoff_of(self.ledger.root)
        while self._may_go_on() and (item := self._next()):
            try:
                self._one(*item)
            except StoreError as error:
                self._failed(*item, error.trouble)
                if error.trouble.everything or self.in_a_row >= IN_A_ROW:
                    self.done.trouble = error.trouble
                    self.done.why_ended = error.trouble.text
                    break
            else:
                self.in_a_row = 0
                if self.backoff.failures:
                    self.say("the store answers again")
                    self._keep(Backoff())
        return self.done

    def _may_go_on(self) -> bool:
        now_s = self.now()
        if (self.ledger.root / "paused").exists():
            self.done.why_ended = "paused"
        elif self.settings.rates.rate(now_s) == PAUSE:
            self.done.why_ended = "the timetable says pause"
        # A clock that was set back must not make the wait longer than it can be.
        elif now_s < self.backoff.not_before_s <= now_s + LONGEST_WAIT_S:
            self.done.why_ended = (
                f"the store is asked again in {self.backoff.not_before_s - now_s:.0f} s: {self.backoff.text}"
            )
        else:
            return True
        return False

    def _next(self) -> order.Item | None:
        """The weightiest that fits into what is left of the day."""
        left = self.budget.left_bytes(self.now())
        waiting = order.ready(self.ledger.open_entries(), self.now())
        for entry, part in waiting:
            if left is None or self._cost(part) <= left:
                return entry, part
        if waiting:
            self.done.why_ended = "the day's budget is spent" if left is not None else "nothing fits"
        return None

    def _cost(self, part: Part) -> int:
        """What an upload may take: file systems may tell no hash, and then it is read back."""
        return 2 * part.size_bytes if self.settings.two_steps else part.size_bytes

    def _one(self, entry: Entry, part: Part) -> None:
        there = self.store.look(part.key)
        if there is not None and self._holds(part, there):
            self.done.found_there += 1
            self._shipped(entry, part)
            return
        content = self.ledger.content(part.sha256)
        if disk.sha256_of(content) != part.sha256:
            self._lost(entry, part)
            return
        cost = self._cost(part)
        now_s = self.now()
        if not self.budget.reserve(now_s, cost):
            return  # a clock that jumped: the next look at the budget decides
        part = self._begun(entry, part)
        sent: int | None = None
        try:
            sent = self.store.put(content, part.key, part.size_bytes, self.settings.rates.for_rclone(now_s))
        except StoreError as error:
            sent = error.sent_bytes
            raise
        finally:
            # What was sent is unknown where rclone was cut off: all of it is counted.
            self.budget.settle(self.now(), cost, part.size_bytes if sent is None else sent)
            self.done.sent_bytes += part.size_bytes if sent is None else sent
        there = self.store.look(part.key)
        if there is None:
            raise StoreError(Trouble("half", f"the store took {part.key} and does not have it", everything=False))
        if there.size_bytes != part.size_bytes:
            raise StoreError(
                Trouble(
                    "half", f"{there.size_bytes} of {part.size_bytes} bytes of {part.key} arrived", everything=False
                )
            )
        if not self._holds(part, there):
            raise StoreError(Trouble("hash", f"{part.key} arrived with another hash", everything=False))
        self._shipped(entry, part)

    def _holds(self, part: Part, there: Seen) -> bool:
        """Whether the store has exactly this; read back where it knows no hash, and that counts too."""
        if there.size_bytes != part.size_bytes:
            return False
        if there.md5 is not None:
            return there.md5 == part.md5
        if not self.budget.reserve(self.now(), part.size_bytes):
            raise StoreError(
                Trouble("budget", "reading it back to check it does not fit into the day's budget", everything=False)
            )
        got = part.size_bytes
        try:
            sha256, got = self.store.read_back(part.key, part.size_bytes)
        except StoreError as error:
            got = error.sent_bytes if error.sent_bytes is not None else got
            raise
        finally:
            self.budget.settle(self.now(), part.size_bytes, got)
        return sha256 == part.sha256

    def _begun(self, entry: Entry, part: Part) -> Part:
        return self._change(entry, replace(part, attempts=part.attempts + 1)) or part

    def _shipped(self, entry: Entry, part: Part) -> None:
        with self.ledger.writing():
            # The entry as it is now: it may have been dropped at the disk's floor while it was under way, and is there.
            current = self.ledger.latest(entry.id)
            if current is not None and (now := current.part(part.kind)):
                self.ledger.save(
                    current.with_part(
                        replace(now, state=SHIPPED, shipped_at_s=self.now(), trouble=None, dropped_at_s=None, why=None)
                    )
                )
                self.ledger.release(part.sha256)
        self.done.shipped += 1
        self.done.order.append(part.key)
        self.say(f"shipped {part.key}, {part.size_bytes} bytes")

    def _lost(self, entry: Entry, part: Part) -> None:
        """What lies here is not what came in: the disk. Its event is counted and named, and nothing of it leaves."""
        why = "damaged on this node's disk"
        self._change(entry, replace(part, state=DROPPED, dropped_at_s=self.now(), why=why))
        self.say(f"<3>dropped {part.key} of camera {entry.camera}: {why}")

    def _failed(self, entry: Entry, part: Part, trouble: Trouble) -> None:
        self.in_a_row += 1
        now_s = self.now()
        if not trouble.everything:
            tries = max(1, (self._current_part(entry, part) or part).attempts)
            self._change(
                entry,
                replace(
                    self._current_part(entry, part) or part,
                    trouble=trouble.text,
                    not_before_s=now_s + wait_s(tries, random.random()),  # noqa: S311 - no secret
                ),
            )
        self.say(f"<4>{part.key} is not shipped: {trouble.text}")
        if trouble.everything or self.in_a_row >= IN_A_ROW:
            failures = self.backoff.failures + 1
            self._keep(
                Backoff(
                    failures=failures,
                    not_before_s=now_s + wait_s(failures, random.random()),  # noqa: S311 - no secret
                    since_s=self.backoff.since_s or now_s,
                    code=trouble.code,
                    text=trouble.text,
                )
            )

    def _current_part(self, entry: Entry, part: Part) -> Part | None:
        current = self.ledger.current(entry.id)
        return current.part(part.kind) if current else None

    def _change(self, entry: Entry, part: Part) -> Part | None:
        """Write a part into its entry as that is now; None where it is no longer open or no longer waits."""
        with self.ledger.writing():
            current = self.ledger.current(entry.id)
            now = current.part(part.kind) if current else None
            if current is None or now is None or now.state != WAITING:
                return None
            self.ledger.save(current.with_part(part))
            return part

    def _keep(self, backoff: Backoff) -> None:
        self.backoff = backoff
        document = {
            "version": 1,
            "failures": backoff.failures,
            "not_before_s": backoff.not_before_s,
            "since_s": backoff.since_s,
            "code": backoff.code,
            "text": backoff.text,
        }
        disk.write_json(self.ledger.root / "backoff.json", document)
