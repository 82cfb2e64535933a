"""A lab of its own, a coordination server and the control machine on the mesh.

`SHOAL_TEST_MESH_LAB` names the lab (default `mesh`); `SHOAL_KEEP_LAB=1` leaves it up. Binaries of tailscale are built
with Go into the cache, or taken from `SHOAL_TAILSCALE_BINARIES`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tailnet import Client, Control, binaries, started

from shoal.cluster import document as clusters
from shoal.cluster import overlay
from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster
from shoal.deploys.run import DeployResult, run_deploy
from shoal.lab import state
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.lab.up import up
from shoal.mesh import moving
from shoal.ssh import client as ssh

FORGET = "systemctl stop tailscaled; rm -rf /var/lib/tailscale; systemctl start tailscaled"
TAGS = ["tag:shoal-requester", "tag:shoal-compute", "tag:shoal-client"]


@dataclass(frozen=True)
class Mesh:
    """What a test works with."""

    document: Path
    control: Any
    """Our coordination server, or one that does the same."""
    client: Client
    key_file: Path
    gateway: str
    settings: dict[str, Any] = field(default_factory=dict)
    """More knobs of the mesh's roles."""

    @property
    def cluster(self) -> Cluster:
        """As it is reached now."""
        return overlay.applied(clusters.load(self.document))

    @property
    def first(self) -> Cluster:
        """By its first addresses."""
        return clusters.load(self.document)

    def give(self, **wanted: Any) -> str:
        """A new key of the wanted kind, where the role looks for it."""
        key = self.control.key(**{"Ephemeral": True, **wanted})
        self.give_text(key)
        return key

    def give_text(self, key: str) -> None:
        self.key_file.touch(mode=0o600)
        self.key_file.write_text(key)

    def on(self) -> moving.Move:
        settings = {
            "tailscale_source": "binaries",
            "tailscale_binaries": str(binaries()),
            "tailscale_login_server": self.control.url,
            "tailscale_authkey_file": str(self.key_file),
            "tailscale_join_timeout_s": 30,
            **self.settings,
        }
        return moving.on(reaches.load(self.document), proxy_command=self.client.proxy_command, settings=settings)

    def deploy(self, name: str, *, limit: tuple[str, ...] = (), **data: Any) -> DeployResult:
        return run_deploy(reaches.load(self.document), name, limit=limit, data=data, timeout_s=600)

    def sh(self, node: str, script: str, *, first: bool = False, check: bool = True) -> str:
        """A script as root on a node."""
        cluster = self.first if first else self.cluster
        return ssh.run(cluster, cluster.node(node), "sh", "-c", script, root=True, check=check, timeout_s=120).text

    def by_first_addresses(self) -> None:
        """Every node is reached at its first address from here on; the mesh's settings are kept."""
        if (note := overlay.load(self.first.name)) is None:
            return  # they never were elsewhere
        overlay.save(note.model_copy(update={"nodes": {}, "services": False}))

    def forget(self, node: str) -> None:
        """The node's daemon as on a machine that was set up anew."""
        self.sh(node, FORGET, first=True)

    def forget_all(self) -> None:
        """No node is on any tailnet any more, whatever an earlier session left."""
        daemon = "systemctl cat tailscaled >/dev/null 2>&1"
        for node in self.first.nodes:
            self.sh(node.name, f"! {daemon} || {{ {FORGET}; }}", first=True)


@pytest.fixture(scope="session")
def mesh(lab_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    binaries()
    name = os.environ.get("SHOAL_TEST_MESH_LAB", "mesh")
    existed = state.load_facts(name) is not None
    cluster = up(LabSpec(name=name, compute=None if existed else 2))
    facts = state.load_facts(name)
    assert facts is not None
    folder = tmp_path_factory.mktemp("mesh")
    document = folder / "cluster.json"
    clusters.save(cluster.model_copy(update={"mesh": "tailscale", "engine": "ssh"}), document)
    overlay.path(name).unlink(missing_ok=True)
    with started(Control(facts.gateway, folder)) as control:
        control.policy(Tags=TAGS)
        with started(Client(folder, control)) as client:
            made = Mesh(document, control, client, folder / "authkey", facts.gateway)
            if existed:
                made.forget_all()
            yield made
    overlay.path(name).unlink(missing_ok=True)
    if os.environ.get("SHOAL_KEEP_LAB") != "1" and not existed:
        result = down(name)
        assert result.clean, result.proofs
