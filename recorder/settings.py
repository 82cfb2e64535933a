"""The settings of one camera: a JSON document that the site's deploy places. It holds no secret."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

VERSION = 1
CAMERA = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class SettingsError(Exception):
    """Settings that cannot be used; the message says which field and why."""


@dataclass(frozen=True)
class Settings:
    """What the recorder of one camera goes by."""

    camera: str
    source: str
    """rtsp://, rtsps://, http:// or https:// without credentials, or a device below /dev."""
    footage: str = "/videos/cameras"
    """The camera's segments lie in `<footage>/<camera>/<UTC day>/`."""
    state: str = "/var/lib/shoal/recorder"
    segment_s: int = 60
    silence_s: int = 10
    """A camera that sends nothing for so long is lost."""
    keep_days: int = 7
    keep_days_with_events: int | None = None
    """How long what the watch found events in stays. None: as all film."""
    watched: str = "/var/lib/shoal/watch/cameras"
    """Where the watch notes a camera's events, in `<watched>/<camera>/told.jsonl`."""
    disk_floor_bytes: int = 5_000_000_000
    """Free space below which the oldest of our segments go before their time, never today's."""
    ffmpeg: str = "/usr/bin/ffmpeg"

    @property
    def folder(self) -> Path:
        """Where the camera's segments lie."""
        return Path(self.footage) / self.camera

    @property
    def state_folder(self) -> Path:
        """What the recorder remembers of this camera."""
        return Path(self.state) / self.camera


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
    unknown = sorted(set(given) - {field.name for field in fields(Settings)})
    if unknown:
        raise SettingsError(f"{source}: no such setting: {', '.join(unknown)}")
    try:
        settings = Settings(**given)
    except TypeError as error:
        raise SettingsError(f"{source}: {error}") from None
    if not isinstance(settings.camera, str) or not CAMERA.fullmatch(settings.camera):
        raise SettingsError(f"{source}: camera must be lower-case letters, digits and dashes")
    for name in ("segment_s", "silence_s", "keep_days", "keep_days_with_events"):
        value = getattr(settings, name)
        if name == "keep_days_with_events" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SettingsError(f"{source}: {name} must be a whole number from 1 on")
    return settings


def credentials(path: Path) -> str | None:
    """`user:password` of the camera, from the file beside its settings `path`; None where that is empty or missing.

    Raises SettingsError where it is no such line; the message does not hold it.
    """
    beside = path.with_suffix(".secret")
    try:
        text = beside.read_text(encoding="utf-8").strip("\n")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{beside} cannot be read: {type(error).__name__}") from None
    if text and (":" not in text or "\n" in text):
        raise SettingsError(f"{beside} is not one line `user:password`")
    return text or None
