"""What is left of a site on its machines after a teardown: looked for, not concluded."""

from __future__ import annotations

from collections.abc import Collection

from shoal.cluster.document import Cluster
from shoal.errors import ShoalError
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief

PLACES = (
    "/var/lib/shoal/*", "/etc/shoal", "/etc/bacalhau", "/var/lib/bacalhau", "/usr/local/lib/shoal",
    "/etc/systemd/system/bacalhau-*", "/etc/systemd/system/shoal-*", "/etc/systemd/system/*.d/shoal*.conf",
)  # fmt: skip
"""Where a deploy puts what is its own; the shell's patterns."""
# A folder is listed with the space it takes: results of runs stay on purpose, and may be much.
_LOOK = 'for path in $1; do [ ! -e "$path" ] || du -sk "$path" 2>/dev/null; done'
MOST = 50


def look(cluster: Cluster, names: Collection[str]) -> dict[str, list[str]]:
    """What is left on the machines of `names`, a line each; the reason where one does not answer."""
    nodes = [node for node in cluster.nodes if node.name in names]
    answers = ssh.on_each(
        nodes, lambda node: ssh.run(cluster, node, "sh", "-c", _LOOK, "look", " ".join(PLACES), root=True).text
    )
    return {
        name: [f"nobody can tell: {brief(answer)}"] if isinstance(answer, ShoalError) else _read(answer)
        for name, answer in answers.items()
    }


def _read(text: str) -> list[str]:
    found = []
    for line in text.splitlines()[:MOST]:
        size, _, path = line.partition("\t")
        if size.isdecimal() and len(size) < 16 and path.isprintable():
            found.append(f"{path[:200]} ({int(size) / 1000:.1f} MB)")
    return found
