"""Looking for false secrets while something runs: process lists of both sides, environments and containers of nodes."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shoal.cluster.document import Cluster
from shoal.ssh import client as ssh

MARK = "CANARY"
STOP = "/run/shoal-test-stop"
# The brackets keep the search from finding itself, on the command line of its own shell too.
PATTERN = "CANAR[Y]"
LIMIT_S = 900
_LOOK = (
    f"end=$(($(date +%s) + {LIMIT_S})); n=0; while [ ! -e {STOP} ] && [ $(date +%s) -lt $end ]; do n=$((n + 1)); "
    "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; "
    "! command -v docker >/dev/null || docker ps -aq 2>/dev/null | xargs -r docker inspect 2>/dev/null; "
    # Machines share processors here: a look that never rests would hold up what is looked at.
    f"sleep 0.2; done | tr '\\0' ' ' | grep -ao '.\\{{0,40\\}}{PATTERN}.\\{{0,20\\}}' | sort -u | head -n 20; "
    "echo ended"
)
SEARCH = (
    f"rm -f {STOP}; grep -rla '{PATTERN}' /etc /run /tmp /var/tmp /var/lib /var/log /var/cache /root /home /dev/shm "
    f"/opt /usr/local /videos 2>/dev/null; journalctl --no-pager -o export | grep -ca '{PATTERN}'; "
    f"! command -v docker >/dev/null || docker ps -aq | xargs -r docker inspect | grep -c '{PATTERN}'; true"
)
"""A node's files, journal and containers: paths, and counts that should be 0."""


class Here(threading.Thread):
    """The process list of this machine."""

    def __init__(self, mark: str = MARK) -> None:
        super().__init__(daemon=True)
        self.mark = mark.encode()
        self.over = threading.Event()
        self.seen: set[str] = set()
        self.looks = 0

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.looks += 1
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = entry.read_bytes()
                except OSError:
                    continue
                if self.mark in words:
                    self.seen.add(words.replace(b"\0", b" ").decode(errors="replace"))


@dataclass
class Seen:
    """What was found, by machine; empty where nothing was."""

    found: dict[str, list[str]] = field(default_factory=dict)


@contextmanager
def everywhere(cluster: Cluster) -> Iterator[Seen]:
    """Watch this machine and every node of `cluster` while the block lasts; what was found is there afterwards."""
    seen, here = Seen(), Here()
    there = {
        node.name: subprocess.Popen(
            ssh.ssh_command(cluster, node, "sh", "-c", f"rm -f {STOP}; {_LOOK}", root=True),
            stdout=subprocess.PIPE, text=True,
        )
        for node in cluster.nodes
    }  # fmt: skip
    here.start()
    try:
        yield seen
    finally:
        here.over.set()
        here.join()
        assert here.looks > 0
        if here.seen:
            seen.found["control machine"] = sorted(here.seen)
        for node in cluster.nodes:
            ssh.run(cluster, node, "touch", STOP, root=True)
            lines = there[node.name].communicate(timeout=120)[0].splitlines()
            assert lines[-1:] == ["ended"], f"{node.name} was not watched to the end: {lines}"
            if lines[:-1]:
                seen.found[node.name] = lines[:-1]
