"""Nodes that are folders: the real control side against a stand-in ssh, docker and detector (fake_node/)."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shoal.cluster.document import Cluster, Node
from shoal.engines.choice import Choice
from shoal.results.record import Outcome, RunRecord, Weights
from shoal.run.start import Order
from shoal.run.work import Event

IMAGE = "10.0.0.10:5000/shoal/detector@sha256:" + "d" * 64
WEIGHTS_SHA256 = "b" * 64
DOCKER = {"cpus": 4, "memory": 8_000_000_000, "images": {IMAGE: "amd64"}}
FAKES = Path(__file__).parent / "fake_node"


@dataclass
class FakeNodes:
    """A requester and compute nodes under `root`; what happened is in `events`."""

    root: Path
    cluster: Cluster
    events: list[Event] = field(default_factory=list)

    @classmethod
    def make(cls, root: Path, monkeypatch: pytest.MonkeyPatch, *, compute: int = 2, user: str = "root") -> FakeNodes:
        monkeypatch.setenv("FAKE_NODES", str(root))
        monkeypatch.setenv("PATH", f"{_programs(root)}:{os.environ['PATH']}")
        monkeypatch.setenv("SHOAL_RUNS", str(root / "home"))
        monkeypatch.setenv("XDG_RUNTIME_DIR", "")
        nodes = [Node(name="requester", roles=("requester",), address="10.0.0.10", user=user)]
        for number in range(1, compute + 1):
            labels = {"site": "harbour" if number == 1 else "bridge"}
            address = f"10.0.0.{10 + number}"
            nodes.append(Node(name=f"c{number}", roles=("compute",), address=address, user=user, labels=labels))
        fakes = cls(root, Cluster(name="test", substrate="onprem", nodes=tuple(nodes)))
        for node in fakes.cluster.compute:
            fakes.path(node.name, "/videos").mkdir(parents=True)
            weights = fakes.path(node.name, "/var/lib/shoal/weights")
            weights.mkdir(parents=True)
            fakes.docker(node.name)
            note = {"reference": "10.0.0.10:5000/shoal/detector:1", "digest": "sha256:" + "d" * 64}
            (weights.parent / "image.json").write_text(json.dumps(note))
        return fakes

    def node_root(self, name: str) -> Path:
        return self.root / self.cluster.node(name).address

    @property
    def program(self) -> Path:
        """The stand-in ssh."""
        return self.root / "bin" / "ssh"

    def path(self, name: str, path: str) -> Path:
        return self.node_root(name) / path.lstrip("/")

    def docker(self, name: str, **changes: Any) -> None:
        (self.node_root(name) / "docker.json").write_text(json.dumps({**DOCKER, **changes}))

    def video(self, node: str, name: str, how: str = "ok") -> Path:
        path = self.path(node, "/videos") / name
        path.write_text(how)
        return path

    def down(self, name: str, text: str = "ssh: connect to host x port 22: Connection refused\r\n") -> None:
        (self.node_root(name) / "down").write_text(text)

    def up(self, name: str) -> None:
        (self.node_root(name) / "down").unlink()

    def containers(self, name: str) -> list[str]:
        return sorted(path.name for path in (self.node_root(name) / "containers").glob("*"))

    def ssh_calls(self) -> list[list[str]]:
        return [ast.literal_eval(line) for line in (self.root / "ssh.log").read_text().splitlines()]

    def commands(self) -> list[str]:
        """What the login shells were given, as sh reads it."""
        calls = [call for call in self.ssh_calls() if "-O" not in call]
        return [_decoded(call[-1]) for call in calls]

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def told(self) -> str:
        return "\n".join(f"{event.node}: {event.kind}: {event.text}" for event in self.events)

    def weights(self) -> Path:
        """A model file whose hash is real, so that it can be placed."""
        path = self.root / "model.onnx"
        path.write_bytes(b"model")
        return path

    def order(self, **changes: Any) -> Order:
        import hashlib

        weights = Weights(name="m", sha256=hashlib.sha256(b"model").hexdigest())
        given: dict[str, Any] = {
            "cluster": self.cluster,
            "engine": Choice("ssh", "test"),
            "weights": weights,
            "weights_path": self.weights(),
            "run": "r1",
        }
        return Order(**{**given, **changes})


def _programs(root: Path) -> Path:
    """The stand-ins as programs that start in this interpreter at once, without looking for a python3 on PATH."""
    for name, place in (("ssh", "bin"), ("docker", "node-bin")):
        program = root / place / name
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{FAKES / name}.py" "$@"\n')
        program.chmod(0o755)
    shutil.copy(FAKES / "sudo", root / "node-bin" / "sudo")
    return root / "bin"


def outcomes(record: RunRecord) -> dict[str, Outcome]:
    return {name: node.outcome for name, node in record.nodes.items()}


@contextmanager
def deadline(seconds: float, what: str) -> Iterator[None]:
    """Fail where the block took longer than it may."""
    begun = datetime.now(UTC)
    yield
    assert (datetime.now(UTC) - begun).total_seconds() < seconds, what


def _decoded(command: str) -> str:
    encoded = re.fullmatch(r"""sh -c 'eval "\$\(echo (\S+) \| base64 -d\)"'""", command)
    return base64.b64decode(encoded[1]).decode() if encoded else command
