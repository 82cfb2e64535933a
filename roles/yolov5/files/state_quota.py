"""Runs on a compute node: ends containers whose run's folder holds more than it may, so that no job fills the disk.

    state_quota.py RUNS LIMIT_BYTES DOCKER_SOCKET

A folder may hold LIMIT_BYTES and half of its file system, whichever is less. Looked at every POLL_S: what is written
meanwhile comes on top. Needs Python 3.8 and nothing else.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, Iterator, Tuple  # noqa: UP035  # Python 3.8 on machines
from urllib.parse import quote

POLL_S = 5.0
ANSWER_S = 30.0
ENTRIES_MAX = 1_000_000
"""Files and folders in a run's folder: more are too many whatever they hold."""
SIGNALS = ("SIGXFSZ", "SIGKILL")
"""First the one that the kernel has for who writes more than it may (signal(7)): Docker's events keep it, and
shoal/engines/killed.py reads it there."""
GONE = (404, 409)
"""Docker's words for a container that ended by itself meanwhile."""


class Docker(http.client.HTTPConnection):
    """One question to Docker, over its socket."""

    def __init__(self, place: str) -> None:
        super().__init__("docker", timeout=ANSWER_S)
        self.place = place

    def connect(self) -> None:
        """As http.client wants it."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(self.place)


def asked(place: str, method: str, call: str) -> bytes:
    """Docker's answer. Raises OSError where it refuses or is silent."""
    way = Docker(place)
    try:
        way.request(method, call)
        answer = way.getresponse()
        body = answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"Docker's answer cannot be read: {error!r}") from None
    finally:
        way.close()
    if answer.status >= 400 and answer.status not in GONE:
        raise OSError(f"Docker answers {answer.status} to {call}")
    return body


def at_work(runs: str, place: str) -> Iterator[Tuple[str, str]]:  # noqa: UP006
    """Each running container that may write into a run's folder, and that folder."""
    listed: Any = json.loads(asked(place, "GET", "/containers/json"))
    for container in listed:
        for mount in container.get("Mounts") or ():
            source = os.path.realpath(mount.get("Source") or "/")
            if mount.get("RW") and str(Path(source).parent) == runs:
                yield container["Id"], source


def held(folder: str) -> Tuple[int, int]:  # noqa: UP006
    """Bytes on the disk, and entries; counting ends where there are too many."""
    size = entries = 0
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            try:
                size += os.lstat(os.path.join(top, name)).st_blocks * 512  # noqa: PTH118  # many, and quickly
            except FileNotFoundError:
                continue
            entries += 1
        if entries > ENTRIES_MAX:
            break
    return size, entries


def why_too_much(folder: str, most: int) -> str:
    """Why the folder holds too much; nothing where it does not."""
    system = os.statvfs(folder)
    limit = min(most, system.f_frsize * system.f_blocks // 2)
    size, entries = held(folder)
    if size > limit:
        return f"holds {size} bytes, {limit} is the most"
    return f"holds more than {ENTRIES_MAX} files" if entries > ENTRIES_MAX else ""


def look(runs: str, most: int, place: str) -> None:
    """End what is over its limit."""
    for container, folder in at_work(runs, place):
        try:
            why = why_too_much(folder, most)
        except FileNotFoundError:
            continue  # the run was removed meanwhile
        if why:
            sys.stderr.write(f"{folder} {why}: ending its container {container[:12]}\n")
            for signal in SIGNALS:
                asked(place, "POST", f"/containers/{quote(container, safe='')}/kill?signal={signal}")


def main(runs: str, most: int, place: str) -> None:
    """Without end. A Docker that does not answer has no running container that it would not have again."""
    reported = ""
    while True:
        try:
            look(os.path.realpath(runs), most, place)
            reported = ""
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if reported != (reported := str(error)):
                sys.stderr.write(f"not looked at: {error}\n")
        time.sleep(POLL_S)  # nothing to wait for: the next look


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
