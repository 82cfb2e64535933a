"""The deployed lab, and what an attacker does on it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab_under_test import Lab

from shoal.cluster import reach as reaches
from shoal.cluster.document import Engine
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.lab.names import container_name

ATTACKER = Path(__file__).with_name("nats_attack.py")


@dataclass(frozen=True)
class Ground:
    """The deployed lab, and what an attacker does on it."""

    lab: Lab
    engine: Engine

    def done(self, node: str, *argv: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command on a node, as root, by the lab's engine."""
        command = ["docker", "exec", "-i", container_name(self.lab.name, node), *argv]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=120)

    def on(self, node: str, script: str) -> str:
        done = self.done(node, "sh", "-c", script)
        assert done.returncode == 0, f"{node}: {script}: {done.stderr}"
        return done.stdout

    def attack(self, node: str, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """The client of the message port, on a node, with what the node has."""
        placed = self.done(node, "sh", "-c", "cat >/tmp/nats_attack.py", given=ATTACKER.read_text())
        assert placed.returncode == 0, placed.stderr
        return self.done(node, "python3", "/tmp/nats_attack.py", *words, given=given)

    def deploy(self, **data: object) -> deploys.DeployResult:
        choice = engines.choose(self.engine, self.lab.cluster)
        return deploys.run_deploy(reaches.load(self.lab.document), "site", data={**engines.deploy_data(choice), **data})
