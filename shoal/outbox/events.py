"""Events of a cluster, at home and in the store: one list of what runs brought home and what nodes have shipped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shoal.errors import Fault, UsageError
from shoal.outbox.documents import OutboxEvent
from shoal.paths import runs_dir
from shoal.results import record as runs
from shoal.results.events import EVENTS_FILE, Event, read_events
from shoal.results.lock import BusyError, locked
from shoal.untrusted import DamagedDocumentError

_AGO = re.compile(r"(\d{1,5})([mhd])")


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """An event, and where it and its clip are."""

    event: str
    node: str
    run: str
    camera: str
    severity: str
    start_utc: str | None
    start_s: float
    end_s: float
    privacy: str
    home: str | None = None
    """Its run's folder on this machine, where it came home."""
    clip_home: str | None = None
    """Its clip on this machine."""
    stored: str = ""
    """`shipped`, `waiting` or `dropped`; empty where no outbox knows it."""
    key: str | None = None
    """Of its document in the store, once it was shipped."""
    clip_stored: str = ""
    clip_key: str | None = None
    shipped_bytes: int = 0
    """Of its document and its clip, as far as they were shipped."""
    no_clip: str | None = None
    """Why it has no clip."""


def at_home(cluster: str) -> tuple[list[ListedEvent], list[Fault]]:
    """The events of every run of the cluster that came home, and files that cannot be read."""
    found, faults = [], []
    for run in runs.list_runs():
        try:
            if runs.load(run).cluster != cluster:
                continue
        except (UsageError, DamagedDocumentError) as error:
            faults.append(Fault(run, error.message))
            continue
        for path in sorted((runs_dir() / run).glob(f"*/{EVENTS_FILE}")):
            try:
                found += [_listed(event, run, path.parent) for event in read_events(path)]
            except (DamagedDocumentError, OSError) as error:
                faults.append(Fault(str(path), str(error)))
    return found, faults


def joined(home: Iterable[ListedEvent], shipped: Mapping[str, Iterable[OutboxEvent]]) -> list[ListedEvent]:
    """Both in one list, the newest first; one event of one run on one node is one line."""
    by_name = {(event.node, event.run, event.event): event for event in home}
    for node, events in shipped.items():
        for event in events:
            name = (node, event.run, event.event)
            before = by_name.get(name) or ListedEvent(
                event=event.event,
                node=node,
                run=event.run,
                camera=event.camera,
                severity=event.severity,
                start_utc=event.start_utc,
                start_s=event.start_s,
                end_s=event.end_s,
                privacy=event.privacy,
            )
            keys = {part.kind: part.key for part in event.parts if part.state == "shipped"}
            by_name[name] = replace(
                before,
                stored=event.state("event"),
                key=keys.get("event"),
                clip_stored=event.state("clip"),
                clip_key=keys.get("clip"),
                shipped_bytes=sum(part.size_bytes for part in event.parts if part.state == "shipped"),
                no_clip=event.no_clip or before.no_clip,
            )
    return sorted(by_name.values(), key=lambda event: (event.start_utc or "", event.run, event.start_s), reverse=True)


def note_shipped(cluster: str, shipped: Mapping[str, Iterable[OutboxEvent]], now: datetime) -> None:
    """Write into each run's record how many bytes of it every node has shipped; a run in hand is left for later.

    Runs that are unknown here, or another cluster's, are left out. Raises OSError.
    """
    sums: dict[str, Counter[str]] = {}
    for node, events in shipped.items():
        for event in events:
            size_bytes = sum(part.size_bytes for part in event.parts if part.state == "shipped")
            sums.setdefault(event.run, Counter())[node] += size_bytes
    known = set(runs.list_runs())
    for run in sorted(known & set(sums)):
        with suppress(BusyError, DamagedDocumentError, UsageError), locked(run):
            record = runs.load(run)
            if record.cluster == cluster and _note(record, sums[run], now):
                runs.save(record)


def _note(record: runs.RunRecord, sums: Mapping[str, int], now: datetime) -> bool:
    """Whether anything is new."""
    changed = False
    for name, size_bytes in sums.items():
        node = record.nodes.get(name)
        if node is not None and (node.shipped is None or node.shipped.size_bytes != size_bytes):
            node.shipped = runs.Shipped(size_bytes=size_bytes, asked_at=now)
            changed = True
    return changed


def chosen(
    events: Iterable[ListedEvent], *, since: datetime | None, camera: str | None, severity: str | None = None
) -> Iterator[ListedEvent]:
    """Those that happened since then at that camera. What has no time of its own counts by its run's."""
    for event in events:
        if camera is not None and event.camera != camera:
            continue
        if severity is not None and event.severity != severity:
            continue
        if since is not None and ((moment := _moment(event)) is None or moment < since):
            continue
        yield event


def since_of(text: str, now: datetime | None = None) -> datetime:
    """`2026-11-30`, `2026-11-30T08:00` (UTC) or `90m`, `12h`, `7d` ago. Raises UsageError."""
    if match := _AGO.fullmatch(text):
        unit = {"m": "minutes", "h": "hours", "d": "days"}[match[2]]
        return (now or datetime.now(UTC)) - timedelta(**{unit: int(match[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text!r}: a day, a time (UTC) or 90m, 12h, 7d is wanted") from None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise UsageError(f"--since {text!r}: there is no such time in UTC") from None


def _listed(event: Event, run: str, folder: Path) -> ListedEvent:
    clip = folder / event.clip.file if event.clip and event.clip.file else None
    why = None if clip else "none was made" if event.clip is None else event.clip.state
    return ListedEvent(
        event=event.id,
        node=folder.name,
        run=run,
        camera=event.camera,
        severity=event.severity,
        start_utc=event.start_utc,
        start_s=event.start_s,
        end_s=event.end_s,
        privacy=event.privacy,
        home=str(folder),
        clip_home=str(clip) if clip and clip.is_file() else None,
        no_clip=why,
    )


def _moment(event: ListedEvent) -> datetime | None:
    if not event.start_utc:
        return _begun(event.run)
    try:
        moment = datetime.fromisoformat(event.start_utc)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _begun(run: str) -> datetime | None:
    try:
        return runs.load(run).created_at
    except (UsageError, DamagedDocumentError):
        return None
