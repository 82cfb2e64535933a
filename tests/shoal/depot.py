"""A cluster of an office and two gates, and what would have been run on its machines."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.cluster import document as clusters
from shoal.cluster.document import Cluster
from shoal.ssh import client as ssh


def depot() -> Cluster:
    """A requester and two compute nodes that are nowhere."""
    machines = [{"name": "office", "roles": ["requester"], "address": "192.0.2.10"}]
    machines += [{"name": f"gate-{n}", "roles": ["compute"], "address": f"192.0.2.2{n}"} for n in (1, 2)]
    return clusters.parse({"name": "depot", "substrate": "onprem", "nodes": machines}, source="test")


class Commands:
    """What would have been run on machines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scripts: list[tuple[str, str]] = []
        monkeypatch.setattr(ssh, "run", self.run)

    def run(self, cluster: Cluster, node: Any, *command: str, **more: Any) -> ssh.Completed:
        self.scripts.append((node.name, command[2] if command[:2] == ("sh", "-c") else " ".join(command)))
        return ssh.Completed(0, b"", "")
