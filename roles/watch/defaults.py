"""Every knob of role `watch`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shoal.errors import Fault

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class WatchedCamera:
    """One camera's footage."""

    name: str
    folder: str
    """Below /videos."""
    keep_days: int = 0
    """How long its film stays at most; its events are remembered as long, and for `watch_keep_events_days`."""


@dataclass(frozen=True)
class Watch:
    """Set by the inventory from what `shoal watch on` wrote; as host or group data under the same names otherwise."""

    watch_cameras: tuple[WatchedCamera, ...] = ()
    """Whose footage is watched. None: nothing is installed."""
    watch_weights_sha256: str = ""
    """The model, one of those that role `yolov5` places."""
    watch_weights_name: str = "yolov5s"
    """What results call it."""
    watch_conf: float = 0.35
    """Least confidence of a detection, 0 to 1."""
    watch_img: int = 640
    """Longer side of the model's input, in pixels."""
    watch_stride: int = 2
    """Every how many frames one is looked at, as long as the machine keeps up."""
    watch_stride_most: int = 8
    """What that may come to before footage waits: this gives way first, and `shoal watch status` says so."""
    watch_reuse: bool = True
    """Whether what was found is carried over where the picture did not change (docs/speed.md)."""
    watch_privacy: str = "people"
    """Who is covered in clips: `people`, `people-and-vehicles` or `off`."""
    watch_behind_s: int = 180
    """A camera whose footage has waited longer is behind: its newest is looked at first, for alerts."""
    watch_look_back_s: int = 600
    """How old the footage may be that the very first start takes up."""
    watch_keep_events_days: int = 30
    """How long events and clips stay on the machine, whatever the outbox did with its copies."""
    watch_processes: int | None = None
    """How many work at once. None: as many as there are processors."""
    watch_cpu_shares: int = 2048
    """Its weight where processors are short; a job's container has 1024, so that neither starves the other."""
    watch_memory_bytes: int = 4_000_000_000
    """Its most; fewer processes run where it is little."""
    watch_reads: tuple[str, ...] = ("/videos/.shoal/events.json", "/videos/.shoal/privacy.json")
    """Files that it reads at its start: it is restarted when a deploy changed one."""

    def faults(self) -> list[Fault]:
        """What no single field shows."""
        found = []
        if self.watch_cameras and not _SHA256.fullmatch(self.watch_weights_sha256):
            found.append(Fault("watch_weights_sha256", "is not 64 hex digits"))
        if not 1 <= self.watch_stride <= self.watch_stride_most:
            found.append(Fault("watch_stride", "must be from 1 to watch_stride_most"))
        if self.watch_img % 32 or not 32 <= self.watch_img <= 4096:
            found.append(Fault("watch_img", "must be a multiple of 32 from 32 to 4096"))
        if self.watch_privacy not in {"people", "people-and-vehicles", "off"}:
            found.append(Fault("watch_privacy", "must be people, people-and-vehicles or off"))
        return found
