"""Which nodes are members of the tailnet, and which answer there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shoal.cluster.document import Cluster, Node
from shoal.errors import ShoalError
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief

LOOK_TIMEOUT_S = 30

PROBE_TIMEOUT_S = 40

_LOOK = "timeout 10 tailscale status --json --peers=false"


@dataclass(frozen=True, slots=True)
class Membership:
    """A node on the tailnet, as its own daemon tells it."""

    state: str
    online: bool = False
    name: str | None = None
    address: str | None = None
    tun: bool = True

    @property
    def joined(self) -> bool:
        """Whether it can be reached at all."""
        return self.state == "Running" and self.address is not None


def membership(cluster: Cluster) -> dict[str, Membership | ShoalError]:
    """Every node's own view of its tailnet, asked all at once."""

    def look(node: Node) -> Membership:
        done = ssh.run(cluster, node, "sh", "-c", _LOOK, root=True, timeout_s=LOOK_TIMEOUT_S, check=False)
        return _read(done.text)

    return ssh.on_each(cluster.nodes, look)


def probe(cluster: Cluster, nodes: Sequence[Node]) -> dict[str, str | None]:
    """Per node why a login over a connection of its own fails; None where it works."""

    def attempt(node: Node) -> str:
        argv = ssh.ssh_command(cluster, node, "true")
        argv[1:1] = ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return "no answer"
        return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it failed"])[-1]

    answers = ssh.on_each(nodes, attempt)
    return {name: (brief(each) if isinstance(each, ShoalError) else each) or None for name, each in answers.items()}


def _read(text: str) -> Membership:
    try:
        raw: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError:
        return Membership("unknown (no daemon)")
    own = raw.get("Self") or {}
    addresses = [str(each) for each in own.get("TailscaleIPs") or ()]
    return Membership(
        state=str(raw.get("BackendState")),
        online=bool(own.get("Online")),
        name=str(own.get("DNSName") or "").rstrip(".") or None,
        address=next((each for each in addresses if "." in each), next(iter(addresses), None)),
        tun=bool(raw.get("TUN", True)),
    )
