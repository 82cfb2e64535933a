"""How every camera of a cluster stands: recorded, watched, behind, and what needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shoal.cluster.cameras import watched_folders
from shoal.cluster.document import Cluster, Node
from shoal.errors import ShoalError
from shoal.ssh import client as ssh
from shoal.watch.documents import Disk, Look, look_of

DAY_S = 86_400
STALE_S = 60.0
"""The watch writes its status every few seconds; one that is older than this is no longer true."""
LATE_S = 300.0
FULL_BYTES, FULL_FILES = 2 << 20, 16
"""A disk with less room than this takes no film."""
LOOK = Path(__file__).with_name("look.py")


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One camera, for people and as JSON."""

    node: str
    camera: str
    recording: str
    """`yes`, `no`, or the reason why not; `elsewhere` where somebody else records."""
    last_segment: str | None = None
    lag_s: float | None = None
    """From the end of the last segment that was done until its events were there."""
    behind_s: float | None = None
    """How long the oldest footage has lain that was not looked at."""
    backlog_segments: int | None = None
    gaps: int | None = None
    """Of the last 24 hours."""
    gap_seconds: float | None = None
    events: int | None = None
    outbox_waiting: int | None = None
    disk_days_left: float | None = None
    """Until the disk's floor, at the pace of the last day, with nothing removed."""
    alarms: tuple[str, ...] = ()
    """What needs a person."""


def looks(cluster: Cluster, nodes: Sequence[Node]) -> dict[str, Look | ShoalError]:
    """What each node answers, or why it does not."""
    text = LOOK.read_text(encoding="utf-8")

    def ask(node: Node) -> Look:
        done = ssh.run(cluster, node, "python3", "-c", text, root=True)
        return look_of(done.stdout, source=f"{node.name}'s word on its cameras")

    return ssh.on_each(nodes, ask)


def cameras_of(node: Node, look: Look) -> list[CameraStatus]:
    """Every camera of a node: those of the cluster document, and those that the node still records."""
    names = [name for name, _ in watched_folders(node)]
    names += [name for name in sorted(look.recorded) if name not in names]
    return [_camera(node.name, name, look) for name in names]


def _camera(node: str, name: str, look: Look) -> CameraStatus:
    recorded = look.recorded.get(name)
    watched = look.watch.cameras.get(name) if look.watch else None
    stale = look.watch is not None and look.at_s - look.watch.at_s > STALE_S
    alarms = []
    if recorded is not None and recorded.trouble:
        alarms.append(f"not recorded: {recorded.trouble}{f' ({recorded.detail})' if recorded.detail else ''}")
    elif recorded is not None and not recorded.unit:
        alarms.append("its recorder does not run")
    if recorded is not None:
        alarms += _disk_alarms(f"/videos/cameras/{name}", recorded.disk, "nothing is recorded")
        if recorded.slow_s:
            alarms.append(
                f"the disk of /videos/cameras/{name} is slow: it took {recorded.slow_s:.0f} s for the last file; see "
                "what else writes there, and whether it is sound"
            )
    alarms += _disk_alarms("/var/lib/shoal", look.state_disk, "nothing that is recorded or found can be noted")
    if recorded is not None and recorded.removed_early:
        alarms.append(f"{recorded.removed_early} segments were removed before their time: the disk is at its floor")
    if look.watching and stale:
        alarms.append("the watch says nothing")
    elif look.watch is not None and not look.watching and watched is not None:
        alarms.append("the watch does not run")
    if watched is not None and watched.behind_s > LATE_S:
        alarms.append(f"{watched.behind_s:.0f} s of footage wait to be looked at")
    if look.watch and look.watch.stride > look.watch.stride_wanted:
        alarms.append(f"the machine does not keep up: every {look.watch.stride}. frame is looked at")
    if watched is not None and watched.gone:
        alarms.append(f"{watched.gone} segments went before the watch came to them")
    return CameraStatus(
        node=node,
        camera=name,
        recording=_recording(look, name),
        last_segment=(recorded.last_segment if recorded else None) or (watched.last_segment if watched else None),
        lag_s=watched.last_lag_s if watched else None,
        behind_s=watched.behind_s if watched else None,
        backlog_segments=watched.backlog_segments if watched else None,
        gaps=recorded.day_gaps if recorded else None,
        gap_seconds=recorded.day_gap_seconds if recorded else None,
        events=watched.events if watched else None,
        outbox_waiting=look.waiting.get(name, 0),
        disk_days_left=_days_left(look),
        alarms=tuple(alarms),
    )


def _disk_alarms(place: str, disk: Disk | None, so: str) -> Iterator[str]:
    """Whether a disk takes nothing, and what to do."""
    if disk is None:
        return
    if disk.read_only:
        yield (
            f"the disk of {place} is read-only, and {so}: see `journalctl -k` on the node for why, mend it, and mount "
            "it for writing"
        )
    elif disk.free_bytes < FULL_BYTES or (disk.files_left is not None and disk.files_left < FULL_FILES):
        yield (
            f"the disk of {place} is full ({disk.free_bytes >> 20} MiB are free), and {so}: make room on it; film goes "
            "earlier by a camera's keep_days"
        )


def _recording(look: Look, name: str) -> str:
    recorded = look.recorded.get(name)
    if recorded is None:
        return "elsewhere"
    return recorded.trouble or ("yes" if recorded.unit else "no")


def _days_left(look: Look) -> float | None:
    """All cameras of a machine fill one disk."""
    seconds = max((one.day_seconds for one in look.recorded.values()), default=0.0)
    size_bytes = sum(one.day_bytes for one in look.recorded.values())
    if seconds < 60 or not size_bytes:
        return None
    per_day = size_bytes * DAY_S / min(seconds, DAY_S)
    return round(max(0, look.free_bytes - look.floor_bytes) / per_day, 1)
