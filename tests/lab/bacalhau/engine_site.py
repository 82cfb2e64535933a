"""A lab with the real engine, runs on it as a user types them, and what can be done to its machines."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab_under_test import Lab

from shoal.cluster import reach as reaches
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.lab.names import container_name
from shoal.site.event_rules import EventRules, Rule
from shoal.ssh import client as ssh

REPOSITORY = Path(__file__).resolve().parents[3]
# Long enough to be hit in the middle, short enough for a test.
QUICK = ["--stride", "2", "--img", "320"]
MID_RUN = r"video 1/6 .* done"
END_TIMEOUT_S = 900.0
NO_EVENTS = EventRules(rule=(Rule(name="none", severity="record", classes=("toilet",), confidence=1.0),))
"""Clips of events are most of a run's work, and none of what is tried here."""
_numbers = itertools.count(1)


@dataclass
class Run:
    """`shoal run` in a process of its own, its lines as they come."""

    site: Site
    id: str
    process: subprocess.Popen[str]
    begun: float
    lines: list[tuple[float, str]] = field(default_factory=list)
    seconds: float = 0.0
    _more: threading.Condition = field(default_factory=threading.Condition)
    _reader: threading.Thread | None = None

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._more:
                self.lines.append((time.monotonic() - self.begun, line.rstrip("\n")))
                self._more.notify_all()

    def follow(self) -> Run:
        self._reader = threading.Thread(target=self.read, daemon=True)
        self._reader.start()
        return self

    def until(self, pattern: str, timeout_s: float = 300.0) -> float:
        """When a line matched, in seconds since the start."""
        deadline = time.monotonic() + timeout_s
        with self._more:
            while True:
                for at, line in self.lines:
                    if re.search(pattern, line):
                        return at
                assert self.process.poll() is None, f"ended before {pattern!r}:\n{self.text}"
                assert time.monotonic() < deadline, f"no {pattern!r} within {timeout_s} s:\n{self.text}"
                self._more.wait(0.5)

    def end(self, timeout_s: float = END_TIMEOUT_S) -> int:
        """The exit code."""
        code = self.process.wait(timeout_s)
        self.seconds = time.monotonic() - self.begun
        if self._reader:
            self._reader.join(10)
        return code

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    @property
    def text(self) -> str:
        return "\n".join(f"{at:6.1f} {line}" for at, line in self.lines)

    @property
    def folder(self) -> Path:
        return self.site.runs / "runs" / self.id

    @property
    def record(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return read

    def outcomes(self) -> dict[str, str]:
        return {name: node["outcome"] for name, node in self.record["nodes"].items()}

    def message(self, node: str) -> str:
        return str(self.record["nodes"][node]["attempts"][-1]["message"])

    def attempts(self, node: str) -> int:
        return len(self.record["nodes"][node]["attempts"])


@dataclass
class Site:
    """The lab's machines and what can be done to them from outside."""

    lab: Lab
    runs: Path

    def run(self, *words: str, resume: str | None = None, quick: bool = True) -> Run:
        name = resume or f"t{next(_numbers)}-{secrets.token_hex(3)}"
        verb = ["resume", name] if resume else ["run", "--run", name, "--bring", "all", *(QUICK if quick else [])]
        process = self._start(*verb, "--cluster", str(self.lab.document), *words)
        return Run(self, name, process, time.monotonic()).follow()

    def shoal(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self._start(*words)
        out, err = process.communicate(timeout=END_TIMEOUT_S)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def _start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "shoal", *words],
            cwd=self.runs, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "SHOAL_RUNS": str(self.runs / "runs")},
        )  # fmt: skip

    def on(self, node: str, script: str) -> str:
        """A shell line on a node, as root, by the lab's engine: it works without the node's network."""
        argv = ["docker", "exec", container_name(self.lab.name, node), "sh", "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{node}: {script}: {done.stderr}"
        return done.stdout

    def cut(self, node: str) -> None:
        """Nothing in or out but over loopback; containers and Docker go on."""
        self.on(node, "iptables -w -I INPUT -i eth0 -j DROP; iptables -w -I OUTPUT -o eth0 -j DROP")

    def join(self, node: str) -> None:
        rules = "INPUT -i eth0", "OUTPUT -o eth0"
        self.on(node, "; ".join(f"while iptables -w -D {rule} -j DROP 2>/dev/null; do :; done" for rule in rules))

    def power(self, node: str, *, on: bool) -> None:
        verb = "start" if on else "kill"
        subprocess.run(["docker", verb, container_name(self.lab.name, node)], check=True, capture_output=True)

    def configure(self, node: str, part: str, change: str) -> None:
        """Change a service's settings behind the role's back: `change` is Python with the settings as `c`."""
        program = (
            "import json,sys;p=sys.argv[1];t=open(p).read().splitlines(True);"
            "c=json.loads(''.join(l for l in t if l[0]!='#'));" + change + ";open(p,'w').write(json.dumps(c))"
        )
        self.on(node, f'python3 -c "{program}" /etc/bacalhau/{part}.yaml && systemctl restart bacalhau-{part}')

    def deploy(self, **data: object) -> deploys.DeployResult:
        choice = engines.choose("bacalhau", self.lab.cluster)
        return deploys.run_deploy(
            reaches.load(self.lab.document),
            "site",
            data={**engines.deploy_data(choice), "bacalhau_force": True, **data},
        )

    def mend(self) -> None:
        """Whole again, whatever a test did: power, network, settings, mounts."""
        for node in self.lab.cluster.nodes:
            self.power(node.name, on=True)
            self.wait_for_ssh(node.name)
            self.join(node.name)
            self.on(
                node.name,
                "rm -f /var/lib/shoal/drained; ! mountpoint -q /var/lib/shoal/runs || "
                "{ systemctl stop bacalhau-compute; umount -l /var/lib/shoal/runs; systemctl start bacalhau-compute; }",
            )
        self.deploy()

    def wait_for_ssh(self, node: str, timeout_s: float = 90.0) -> None:
        deadline = time.monotonic() + timeout_s
        machine = self.lab.cluster.node(node)
        while True:
            try:
                ssh.run(self.lab.cluster, machine, "true")
            except ssh.SshError:
                self.join(node)
                assert time.monotonic() < deadline, f"{node} does not answer"
                time.sleep(1)
            else:
                return


@dataclass
class Reference:
    """What an undisturbed run finds."""

    seconds: float
    detections: dict[str, dict[str, str]] = field(default_factory=dict)


def detections(run: Run) -> dict[str, dict[str, str]]:
    """Per node and video the hash of what was found; every line once."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(run.folder.glob("*/videos/*/detections.jsonl")):
        content = path.read_bytes()
        lines = content.splitlines()
        assert len(lines) == len(set(lines)), f"{path} has a line twice"
        found.setdefault(path.parts[-4], {})[path.parent.name] = hashlib.sha256(content).hexdigest()
    return found
