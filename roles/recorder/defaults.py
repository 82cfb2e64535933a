"""Every knob of role `recorder`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from shoal.cluster.document import Camera
from shoal.errors import Fault
from shoal.paths import NODE_VIDEOS


@dataclass(frozen=True)
class Recorder:
    """Set as host or group data under the same names."""

    recorder_cameras: tuple[Camera, ...] = ()
    """The machine's cameras, from the cluster document (`nodes[].cameras`). None: nothing is installed."""
    recorder_footage: str = f"{NODE_VIDEOS}/cameras"
    """Film lies in `<footage>/<camera>/<UTC day>/`, where jobs see it."""
    recorder_segment_s: int = 60
    """Length of a file. A segment is looked at when it is closed; a kill costs its last seconds only."""
    recorder_silence_s: int = 10
    """A camera that sends nothing for so long is lost, and begun again."""
    recorder_disk_floor_bytes: int = 5_000_000_000
    """Free space below which the oldest film goes before its time, never today's."""
    recorder_apt_timeout_s: int = 900
    """How long installing may take before the deploy gives up."""

    def faults(self) -> list[Fault]:
        """What no single field shows."""
        found = []
        for name in ("recorder_segment_s", "recorder_silence_s"):
            if not 2 <= getattr(self, name) <= 3600:
                found.append(Fault(name, "must be from 2 to 3600 seconds"))
        twice = [name for name, times in Counter(one.name for one in self.recorder_cameras).items() if times > 1]
        return [*found, *(Fault("recorder_cameras", f"the name {name!r} comes twice") for name in twice)]
