"""What lies in a camera's folder: its closed files, in the order in which they were recorded."""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from shoal_detect.events.cameras import TIME, moment_of
from shoal_detect.read import footage
from shoal_detect.read.source import SETTLED_S, Unopened, opened, still_written
from shoal_detect.read.videos import Video, display_name, video_id
from shoal_detect.watch.settings import Watched


@dataclass(frozen=True, slots=True)
class Segment:
    """One file."""

    name: str
    """Relative to the input folder."""
    began: datetime | None
    """By its name."""
    closed_s: float
    """When it was last written to, seconds since 1970."""
    video: Video

    @property
    def order(self) -> tuple[float, str]:
        """By the time in its name, else by when it was closed."""
        return (self.closed_s if self.began is None else self.began.timestamp(), self.name)


@dataclass
class Scan:
    """Looks through a camera's folder again and again; folders in which nothing changed are not listed anew."""

    root: str
    camera: Watched
    zone: str
    """What times in names are: `utc`, an offset or `unknown`."""
    _listed: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    """Folders of which all is known, with the time of their last change and their subfolders."""

    def segments(self, *known: Container[str]) -> Iterator[Segment]:
        """Files in none of `known`, asked in their order, that are no longer written to. Raises OSError."""
        waiting = [os.path.join(self.root, self.camera.folder)]  # noqa: PTH118 - names may be any bytes
        while waiting:
            folder = waiting.pop()
            try:
                changed_ns = os.stat(folder).st_mtime_ns  # noqa: PTH116 - as above
                before = self._listed.get(folder)
                if before is not None and before[0] == changed_ns:
                    waiting += before[1]
                    continue
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except FileNotFoundError:
                continue
            folders = [entry.path for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
            waiting += folders
            settled = time.time() - changed_ns / 1e9 > SETTLED_S
            place = os.path.relpath(folder, self.root)
            for entry in entries:
                name = entry.name if place == "." else f"{place}/{entry.name}"
                if entry.name.startswith(".") or any(name in one for one in known):
                    continue
                if footage.kind_by_name(entry.name) != "video":
                    continue
                found = _segment(entry.path, name, self.zone)
                if found is None:
                    settled = False
                else:
                    yield found
            if settled:
                self._listed[folder] = (changed_ns, folders)


def _segment(path: str, name: str, zone: str) -> Segment | None:
    relative = os.fsencode(name)
    try:
        status = os.stat(path)  # noqa: PTH116 - as above
        with opened(path) as source:
            if still_written(source):
                return None
    except (OSError, Unopened):
        return None  # gone meanwhile, or not to be opened yet; it is looked for again
    found = list(TIME.finditer(os.path.basename(name)))  # noqa: PTH119
    video = Video(path, display_name(relative), video_id(relative), status.st_size)
    return Segment(name, moment_of(found[-1], zone) if found else None, status.st_mtime, video)
