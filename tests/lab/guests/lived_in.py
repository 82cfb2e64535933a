"""Lab nodes as gateways that have an owner: a user `ops`, and conditions that are made and taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab_under_test import Lab

from shoal.check.examine import Report, examine
from shoal.check.finding import Finding, Level
from shoal.cluster.document import Cluster, Node, SshAccess
from shoal.site.document import SiteDocument
from shoal.ssh import client as ssh

GATES = ("requester", "compute-1", "compute-2")
_OPS = """
set -e
id ops >/dev/null 2>&1 || useradd -m -s /bin/bash ops
mkdir -p /home/ops/.ssh
cp /home/shoal/.ssh/authorized_keys /home/ops/.ssh/authorized_keys
chown -R ops: /home/ops/.ssh
chmod 700 /home/ops/.ssh
chmod 755 /home/ops
echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops
"""


@dataclass(frozen=True)
class Gateways:
    """The lab's nodes, as their owner has them (`cluster`) and as the lab reaches them (`lab`)."""

    lab: Lab
    cluster: Cluster

    @classmethod
    def of(cls, lab: Lab) -> Gateways:
        """With the user `ops` on each."""
        nodes = tuple(node.model_copy(update={"user": "ops"}) for node in lab.cluster.nodes if node.name in GATES)
        # The lab's own ssh_config names its user; without it the host keys are looked up by address.
        access = SshAccess(
            identity_file=lab.cluster.ssh.identity_file,
            known_hosts_file=lab.cluster.ssh.known_hosts_file,
            config_file=None,
            proxy_command=None,
            mesh_proxy_command=None,
        )
        cluster = Cluster(name="plant", substrate="onprem", engine="ssh", nodes=nodes, ssh=access)
        made = cls(lab, cluster)
        for node in nodes:
            made.on(node.name, _OPS)
        return made

    def on(self, node: str, script: str, *, timeout_s: float = 300) -> str:
        """Run a script as root by the lab's own login; it must succeed."""
        where = self.lab.cluster.node(node)
        return ssh.run(self.lab.cluster, where, "sh", "-c", script, root=True, timeout_s=timeout_s).text

    @contextmanager
    def made(self, node: str, script: str, undo: str) -> Iterator[None]:
        """A condition on a machine for as long as the block lasts."""
        try:
            self.on(node, script)
            yield
        finally:
            ssh.close(self.cluster)  # a login that is shared would keep its former shell and groups
            self.on(node, undo)

    def look(
        self, *names: str, clips: int = 0, bacalhau: bool = False, knobs: dict[str, Any] | None = None, **more: Any
    ) -> Report:
        """The look, by new logins."""
        ssh.close(self.cluster)
        entry = {"path": "/x/a.mp4", "sha256": "a" * 64, "size_bytes": 100_000}
        videos = {
            node.name: [{**entry, "name": f"clip-{number}.mp4"} for number in range(clips)]
            for node in self.cluster.compute
        }
        site = SiteDocument.model_validate({"cluster": "plant", "videos": videos})
        cluster = more.pop("cluster", self.cluster)
        return examine(cluster, names or GATES, site, bacalhau=bacalhau, knobs={"all": knobs or {}}, **more)

    def with_nodes(self, **changes: Any) -> Cluster:
        """The document with something else in each node's entry."""
        nodes = tuple(Node.model_validate({**node.model_dump(), **changes}) for node in self.cluster.nodes)
        return self.cluster.model_copy(update={"nodes": nodes})


def in_the_way(report: Report) -> list[str]:
    """What keeps a deploy from being begun, as lines to look for words in."""
    return [_line(entry) for entry in report.in_the_way]


def told(report: Report, level: Level) -> list[str]:
    """The findings of one weight."""
    return [_line(entry) for entry in report.findings if entry.level is level]


def _line(entry: Finding) -> str:
    return f"{entry.node}: {entry.topic}: {entry.what} / {entry.todo}"
