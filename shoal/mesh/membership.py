"""Which nodes are members of the tailnet, and which answer there."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field

from shoal import untrusted
from shoal.cluster.document import Cluster, Node
from shoal.errors import ShoalError
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.untrusted import DamagedDocumentError

LOOK_TIMEOUT_S = 30

PROBE_TIMEOUT_S = 40

_LOOK = "timeout 10 tailscale status --json --peers=false"


@dataclass(frozen=True, slots=True)
class Membership:
    """A node on the tailnet, as its daemon reports it."""

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
        found = untrusted.document(text, _Told, source="the node's word on its tailnet")
    except DamagedDocumentError:
        return Membership("unknown (no daemon)")
    own = found.own or _Own()
    addresses = own.addresses or ()
    return Membership(
        state=found.state,
        online=own.online,
        name=(own.name or "").rstrip(".") or None,
        address=next((each for each in addresses if "." in each), next(iter(addresses), None)),
        tun=found.tun,
    )


class _Own(BaseModel):
    """A node in `tailscale status --json`."""

    online: bool = Field(False, alias="Online")
    name: str | None = Field(None, alias="DNSName")
    addresses: list[str] | None = Field(None, alias="TailscaleIPs")


class _Told(BaseModel):
    """As much of `tailscale status --json` as is read here."""

    state: str = Field("None", alias="BackendState")
    own: _Own | None = Field(None, alias="Self")
    tun: bool = Field(True, alias="TUN")
