"""Which of the footage a run is for: cameras by name, and a time since when."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shoal_detect.read.videos import Video

RECORDED = re.compile(r"(?:cameras/)?([^/]+)/\d{4}-\d\d-\d\d")
"""Folder of a recorder's files: of a camera, by UTC days."""
NAMED = re.compile(r"(20\d\d)(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")
LONGEST = timedelta(hours=2)
"""A file that is named by its beginning may reach so far."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """None: all."""

    since: datetime | None = None
    """UTC. Footage that ended before is left out."""
    cameras: tuple[str, ...] | None = None
    """Names of cameras, or their folders relative to the input folder."""

    def of(self, videos: Iterable[Video]) -> list[Video]:
        """Those of the videos that are wanted, in their order."""
        return [one for one in videos if self._camera(one) and self._time(one)]

    def _camera(self, video: Video) -> bool:
        if self.cameras is None:
            return True
        folder = video.name.rpartition("/")[0]
        return any(f"{folder}/".startswith((f"cameras/{name}/", f"{name}/")) for name in self.cameras)

    def _time(self, video: Video) -> bool:
        """By the time in its name, and by when it was last written to; what cannot be asked is wanted."""
        if self.since is None:
            return True
        found = NAMED.search(video.name.rpartition("/")[2])
        began = None
        if found is not None:
            try:
                year, month, day, hour, minute, second = map(int, found.groups())
                began = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
            except ValueError:
                pass
        if began is not None and began >= self.since:
            return True
        if began is not None and began < self.since - LONGEST:
            return False
        try:
            return os.stat(video.path).st_mtime >= self.since.timestamp()  # noqa: PTH116 - names may be any bytes
        except OSError:
            return True


def recorder_camera(folder: str) -> str | None:
    """The camera whose recorder wrote into a folder relative to the input folder; None where it is no such folder.

    >>> recorder_camera("cameras/north/2026-11-30")
    'north'
    """
    found = RECORDED.fullmatch(folder)
    return found.group(1) if found else None
