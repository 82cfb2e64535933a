"""What is unshipped and shipped, as one document (schemas/status.schema.json) and in words."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from outbox import retention
from outbox.budget import Budget
from outbox.collect import AWAITED
from outbox.ledger import ALERT, CLIP, DROPPED, EVENT, SHIPPED, WAITING, Entry, Ledger, Part
from outbox.order import when
from outbox.settings import Settings
from outbox.ship import backoff_of

VERSION = 1
RECENT = 50
ALARM_AFTER_S = 3600.0
"""A store that fails for so long is an alarm."""
DROPPED_ALARM_S = 7 * 86_400.0


@dataclass(slots=True)
class _Sum:
    events: int = 0
    clips: int = 0
    size_bytes: int = 0

    def add(self, part: Part) -> None:
        self.events += part.kind == EVENT
        self.clips += part.kind == CLIP
        self.size_bytes += part.size_bytes

    def document(self) -> dict[str, int]:
        return {"events": self.events, "clips": self.clips, "size_bytes": self.size_bytes}


def status(settings: Settings, ledger: Ledger, now_s: float) -> dict[str, Any]:
    """The document. Raises LedgerError and ValueError where the outbox's own files are damaged."""
    entries = [*ledger.open_entries(), *ledger.closed_entries()]
    waiting = {"alert": _Sum(), "record": _Sum()}
    sums = {SHIPPED: _Sum(), DROPPED: _Sum()}
    for entry in entries:
        for part in entry.parts:
            (waiting[entry.severity] if part.state == WAITING else sums[part.state]).add(part)
    backoff = backoff_of(ledger.root)
    spent = Budget(ledger.root / "budget.json", settings.budget_bytes_per_day).read(now_s)
    shipped_at = [part.shipped_at_s for entry in entries for part in entry.parts if part.shipped_at_s]
    oldest = min((entry.collected_at_s for entry in entries if entry.waits), default=None)
    free = retention.free_bytes(ledger.root)
    return {
        "version": VERSION,
        "node": settings.node,
        "at": _utc(now_s),
        "to": settings.to,
        "paused": (ledger.root / "paused").exists(),
        "rate": settings.rates.rate(now_s),
        "waiting": {
            "alerts": waiting["alert"].document(),
            "records": waiting["record"].document(),
            "oldest_at": _utc(oldest) if oldest is not None else None,
        },
        "shipped": {**sums[SHIPPED].document(), "last_at": _utc(max(shipped_at)) if shipped_at else None},
        "dropped": {**sums[DROPPED].document(), "recent": _dropped(entries)},
        "without_clip": sum(entry.no_clip not in {None, "none was made", AWAITED} for entry in entries),
        "budget": {
            "day": spent.day,
            "spent_bytes": spent.spent_bytes + spent.reserved_bytes,
            "limit_bytes": settings.budget_bytes_per_day,
        },
        "store": {
            "failures": backoff.failures,
            "since": _utc(backoff.since_s) if backoff.failures else None,
            "again_at": _utc(backoff.not_before_s) if backoff.failures else None,
            "code": backoff.code or None,
            "trouble": backoff.text or None,
        },
        "disk": {"free_bytes": free, "floor_bytes": settings.disk_floor_bytes},
        "alarms": [*_alarms(settings, entries, now_s, free), *_store_alarm(settings, ledger, now_s)],
    }


def events(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """One document per event, the newest first: what it was, and where its parts are."""
    entries = [*ledger.open_entries(), *ledger.closed_entries()]
    for entry in sorted(entries, key=when, reverse=True):
        yield {
            "event": entry.event,
            "run": entry.run,
            "camera": entry.camera,
            "severity": entry.severity,
            "start_utc": entry.start_utc,
            "start_s": entry.start_s,
            "end_s": entry.end_s,
            "privacy": entry.privacy,
            "no_clip": entry.no_clip,
            "parts": [
                {
                    "kind": part.kind,
                    "key": part.key,
                    "state": part.state,
                    "size_bytes": part.size_bytes,
                    "sha256": part.sha256,
                    "shipped_at": _utc(part.shipped_at_s) if part.shipped_at_s else None,
                    "trouble": part.why or part.trouble,
                }
                for part in entry.parts
            ],
        }


def _dropped(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    found = [(part, entry) for entry in entries for part in entry.parts if part.state == DROPPED]
    found.sort(key=lambda item: item[0].dropped_at_s or 0.0, reverse=True)
    return [
        {
            "key": part.key,
            "camera": entry.camera,
            "severity": entry.severity,
            "size_bytes": part.size_bytes,
            "why": part.why or "",
            "at": _utc(part.dropped_at_s or 0.0),
        }
        for part, entry in found[:RECENT]
    ]


def _alarms(settings: Settings, entries: list[Entry], now_s: float, free: int) -> Iterator[str]:
    fresh = [
        (entry.severity == ALERT)
        for entry in entries
        for part in entry.parts
        if part.state == DROPPED and now_s - (part.dropped_at_s or 0.0) < DROPPED_ALARM_S
    ]
    if fresh:
        yield f"{len(fresh)} objects were dropped unshipped within 7 days, {sum(fresh)} of them of alerts"
    if damaged := sum((entry.no_clip or "").startswith(("its ", "it ")) for entry in entries):
        yield f"{damaged} events go without their clips, which were not what their verification saw"
    limit = settings.budget_bytes_per_day
    if limit is not None and (
        large := [
            part for entry in entries for part in entry.parts if part.state == WAITING and part.size_bytes > limit
        ]
    ):
        yield f"{len(large)} objects are larger than a day's budget and wait for a larger one"
    if refused := [
        part
        for entry in entries
        for part in entry.parts
        if part.state == WAITING and part.trouble and part.attempts >= 5
    ]:
        yield f"{len(refused)} objects were not taken in 5 attempts or more: {refused[0].trouble}"
    if free < settings.disk_floor_bytes:
        yield f"the disk is below its floor: {free} bytes are free, the floor is {settings.disk_floor_bytes}"


def _store_alarm(settings: Settings, ledger: Ledger, now_s: float) -> Iterator[str]:
    backoff = backoff_of(ledger.root)
    if backoff.failures and (now_s - backoff.since_s > ALARM_AFTER_S or backoff.code not in {"dns", "link", "slow"}):
        yield f"{settings.to}: {backoff.text}"


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
