"""The settings of a node's outbox: one JSON document that the site's deploy places. It holds no secret."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from outbox.timetable import Timetable, TimetableError, parse

VERSION = 1
DAY_S = 86_400


class SettingsError(Exception):
    """Settings that cannot be used; the message says which field and why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the shipper and the collector of one node go by."""

    node: str
    remote: str
    """The store as rclone names it: `store:bucket/prefix`."""
    to: str
    """The store for people: `s3:bucket/prefix`."""
    rclone: str
    rclone_config: str
    two_steps: bool = False
    """Whether an object is written under another name and then renamed: stores that are file systems."""
    root: str = "/var/lib/shoal/outbox"
    sources: tuple[str, ...] = ("/var/lib/shoal/runs",)
    """Folders of run folders."""
    budget_bytes_per_day: int | None = None
    """Payload of uploads and of what is read back, retries included, per UTC day. None: no limit."""
    timetable: str = ""
    """When how fast: `08:00,512k 18:00,off`; see docs/outbox.md."""
    keep_records_days: int = 30
    """How long a record may wait before it is dropped."""
    keep_alerts_days: int = 90
    keep_ledger_days: int = 30
    """How long what was shipped is remembered here."""
    keep_runs_days: int | None = None
    """How long run folders stay of which everything was shipped. None: until the disk's floor."""
    disk_floor_bytes: int = 2_000_000_000
    """Free space below which things are dropped."""

    @property
    def rates(self) -> Timetable:
        """The timetable, parsed."""
        return parse(self.timetable)


def load(path: Path) -> Settings:
    """The settings in a file. Raises SettingsError."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    return parsed(document, str(path))


def parsed(document: Any, source: str) -> Settings:
    """Settings of their document. Raises SettingsError."""
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise SettingsError(f"{source}: not settings of version {VERSION}")
    given = {name: value for name, value in document.items() if name != "version"}
    if unknown := sorted(set(given) - {field.name for field in fields(Settings)}):
        raise SettingsError(f"{source}: no such setting: {', '.join(unknown)}")
    if isinstance(given.get("sources"), list):
        given["sources"] = tuple(given["sources"])
    try:
        settings = Settings(**given)
        parse(settings.timetable)
    except (TypeError, TimetableError) as error:
        raise SettingsError(f"{source}: {error}") from None
    return settings
