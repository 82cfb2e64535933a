"""Runs on a node with its own Python, as text over SSH: what recorders, watch and outbox have written down, in one JSON
document. Standard library only; it changes nothing."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from typing import Any

STATE = "/var/lib/shoal"
VIDEOS = "/videos"
SETTINGS = "/etc/shoal/recorder"
WATCH = "/etc/systemd/system/shoal-watch.service"
DAY_S = 86400
FILE_BYTES = 64 << 20
"""Years of one camera's segments; more is nobody's ledger."""


def content(path: str) -> bytes:
    """Of a plain file; nothing where there is none. This runs as root, and what it reads is written by users with less:
    no link is followed, no pipe waited for, and no more read than is sensible."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with os.fdopen(handle, "rb") as stream:
        return stream.read(FILE_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else b""


def document(path: str) -> dict[str, Any]:
    """A JSON object, an empty one where there is none or it is damaged."""
    try:
        found = json.loads(content(path))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def lines(path: str, *figures: str) -> Iterator[dict[str, Any]]:
    """The whole lines of a ledger that have these figures."""
    for line in content(path).split(b"\n"):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and all(isinstance(found.get(name), (int, float)) for name in figures):
            yield found


def active(unit: str) -> bool:
    """Whether systemd runs it."""
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def names(folder: str) -> list[str]:
    """What lies in a folder."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return []


def disk(*folders: str) -> dict[str, Any] | None:
    """The disk of the first of the folders that is there."""
    for folder in folders:
        try:
            about = os.statvfs(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return {
            "free_bytes": about.f_bavail * about.f_frsize,
            # Some file systems have no number of files to run out of.
            "files_left": about.f_favail if about.f_files else None,
            "read_only": bool(about.f_flag & os.ST_RDONLY),
        }
    return None


def recorded(name: str, now_s: float) -> dict[str, Any]:
    """One camera's recording."""
    folder = f"{STATE}/recorder/{name}"
    segments = list(lines(f"{folder}/segments.jsonl", "start", "end", "size_bytes"))
    recent = [one for one in segments if one["end"] > now_s - DAY_S]
    gaps = [one for one in lines(f"{folder}/gaps.jsonl", "start", "end") if one["end"] > now_s - DAY_S]
    # By order: a clock may have been set back.
    last = segments[-1] if segments else None
    now = document(f"{folder}/now.json")
    removed = len([one for one in lines(f"{folder}/removed.jsonl") if "floor" in str(one.get("why"))])
    return {
        "unit": active(f"shoal-recorder@{name}.service"),
        "trouble": now.get("reason"),
        "detail": str(now.get("detail", ""))[:300] or None,
        "since_s": now.get("start"),
        "segments": len(segments),
        "last_segment": last.get("file") if last else None,
        "last_end_s": last["end"] if last else None,
        "film_bytes": sum(one["size_bytes"] for one in segments),
        "day_seconds": round(sum(one["end"] - one["start"] for one in recent), 1),
        "day_bytes": sum(one["size_bytes"] for one in recent),
        "day_gaps": len(gaps),
        # Of the day alone: a gap may go back to a time that no clock had.
        "day_gap_seconds": round(
            sum(max(0, min(one["end"], now_s) - max(one["start"], now_s - DAY_S)) for one in gaps), 1
        ),
        "last_gaps": gaps[-5:],
        "removed_early": removed,
        "slow_s": document(f"{folder}/disk.json").get("slow_s"),
        "disk": disk(f"{VIDEOS}/cameras/{name}", VIDEOS),
    }


def waiting() -> dict[str, int]:
    """How many events of each camera wait in the outbox."""
    found: dict[str, int] = {}
    for name in names(f"{STATE}/outbox/open"):
        entry = document(f"{STATE}/outbox/open/{name}")
        if entry and not name.startswith("."):
            camera = str(entry.get("camera"))
            found[camera] = found.get(camera, 0) + 1
    return found


def main() -> None:
    """Print the document."""
    now_s = time.time()
    cameras = [name[: -len(".json")] for name in names(SETTINGS) if name.endswith(".json")]
    floors = [document(f"{SETTINGS}/{name}.json").get("disk_floor_bytes", 0) for name in cameras]
    videos = disk(VIDEOS)
    print(  # noqa: T201 - its answer
        json.dumps(
            {
                "version": 1,
                "at_s": now_s,
                "free_bytes": videos["free_bytes"] if videos else 0,
                "floor_bytes": max(floors, default=0),
                "state_disk": disk(STATE),
                "watching": active("shoal-watch.service"),
                # After `shoal watch off` its last word stays with its events, and is no longer about anything.
                "watch": (document(f"{STATE}/watch/status.json") or None) if os.path.exists(WATCH) else None,  # noqa: PTH110
                "recorded": {name: recorded(name, now_s) for name in cameras},
                "waiting": waiting(),
            }
        )
    )


main()
