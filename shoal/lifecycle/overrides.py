"""systemd drop-ins that somebody laid beside a site's units: they change a service, and no deploy mends them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shoal.cluster.document import Cluster
from shoal.errors import ShoalError
from shoal.ssh import client as ssh

UNITS = (
    "bacalhau-orchestrator.service", "bacalhau-compute.service", "docker.service", "docker.socket",
    "containerd.service", "docker-registry.service", "shoal-*.service", "tailscaled.service", "nftables.service",
    "chrony.service", "systemd-timesyncd.service", "systemd-journald.service", "ssh.service",
)  # fmt: skip
"""The units that the roles bring, or whose settings they write; a pattern as systemctl takes it."""
# What distributions bring lies under /usr; only the names of settings are shown, for a value may be a secret.
_LOOK = r"""
systemctl show --all --property Id,DropInPaths -- "$@" 2>/dev/null | sed -n 's/^Id=//p;s/^DropInPaths=/=/p' |
while read -r line; do
    case $line in
        =*) paths=${line#=} ;;
        *) unit=$line; continue ;;
    esac
    for path in $paths; do
        case $path in
            /usr/*|/lib/*|*/shoal*.conf) ;;
            *) echo "override $unit $path $(sed -n 's/^[[:space:]]*\([A-Za-z]*\)[[:space:]]*=.*/\1/p' "$path" |
                sort -u | head -n 12 | tr '\n' ',')" ;;
        esac
    done
done
"""
_LINE = re.compile(r"override (?P<unit>[\w@:.\\-]{1,120}) (?P<path>/[\w@:./\\-]{1,400}) (?P<settings>[A-Za-z,]{0,400})")


@dataclass(frozen=True, slots=True)
class Override:
    """One drop-in of the machine's owner."""

    node: str
    unit: str
    path: str
    settings: tuple[str, ...]

    def __str__(self) -> str:
        what = ", ".join(self.settings) or "nothing"
        return f"{self.path} sets {what} for {self.unit}: the owner's, no deploy changes it"


def look(cluster: Cluster) -> list[Override]:
    """The owner's drop-ins on every machine. Raises ShoalError where a machine is not reached."""
    answers = ssh.on_each(
        cluster.nodes, lambda node: ssh.run(cluster, node, "sh", "-c", _LOOK, "look", *UNITS, root=True).text
    )
    found: list[Override] = []
    for name, answer in answers.items():
        if isinstance(answer, ShoalError):
            raise answer
        found += read(name, answer)
    return found


def read(node: str, text: str) -> Iterator[Override]:
    """The drop-ins in a machine's answer; lines that are none are passed over."""
    for line in text.splitlines():
        if match := _LINE.fullmatch(line.strip()):
            settings = tuple(word for word in match["settings"].split(",") if word)
            yield Override(node, match["unit"], match["path"], settings)
