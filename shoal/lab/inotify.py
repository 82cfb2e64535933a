"""The host's limit of inotify instances: shared by all nodes, and used up by about twenty of them."""

from __future__ import annotations

import os
from pathlib import Path

from shoal.telling import Say

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
NODES_IN_DEFAULT = 12
"""Each node takes 6 or 7 of the usual 128; some are left to the host."""
RAISED = 1024
"""Seen to be enough for 20 nodes with room to spare; a multiple of it only costs memory when used."""


def raise_limit(node_count: int, before: int | None, say: Say) -> int | None:
    """Raise the limit where the lab needs it and may; gives what to restore later."""
    if node_count <= NODES_IN_DEFAULT or not LIMIT.exists():
        return before
    current = int(LIMIT.read_text(encoding="ascii"))
    if current >= RAISED:
        return before
    if os.geteuid() != 0:
        say(f"lab: {node_count} nodes may use up this machine's {current} inotify instances; root can raise {LIMIT}")
        return before
    LIMIT.write_text(str(RAISED), encoding="ascii")
    say(f"lab: raised {LIMIT} from {current} to {RAISED} until the lab is taken down")
    return before or current


def restore_limit(before: int | None) -> None:
    """Set the limit back, unless somebody else has changed it since."""
    if before is not None and os.geteuid() == 0 and int(LIMIT.read_text(encoding="ascii")) == RAISED:
        LIMIT.write_text(str(before), encoding="ascii")
