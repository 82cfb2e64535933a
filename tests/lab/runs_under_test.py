"""Driving `shoal run` on a lab as a user does, and looking at the nodes by another way than shoal's."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab_under_test import Lab

REPOSITORY = Path(__file__).resolve().parents[2]
NODES = ("compute-1", "compute-2")
QUICK = ("--img", "320", "--stride", "10")
"""A run of some seconds; what is tested is the way, not the model."""
SLOW = ("--img", "320", "--stride", "1")
"""Long enough to break something in the middle."""


@dataclass
class Runs:
    """A lab whose nodes can run the detector, and a folder of its own for results."""

    lab: Lab
    home: Path
    tag: str = field(default_factory=lambda: secrets.token_hex(3))

    def id(self, name: str) -> str:
        """A run id of this session: nodes that were used before keep the folders of their runs."""
        return f"{name}-{self.tag}"

    def folder(self, name: str) -> Path:
        return self.home / self.id(name)

    def command(self, *words: str) -> list[str]:
        # Over ssh whatever is cached or deployed by other tests of the session.
        engine = ["--engine", "ssh"] if words[0] == "run" and "--engine" not in words else []
        engine += ["--bring", "all"] if words[0] == "run" and "--bring" not in words else []
        return [sys.executable, "-m", "shoal", *words, *engine]

    def environment(self) -> dict[str, str]:
        given = {"SHOAL_CLUSTER": str(self.lab.document), "SHOAL_RUNS": str(self.home), "PYTHONPATH": str(REPOSITORY)}
        return {**os.environ, **given, "COLUMNS": "200"}

    def shoal(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), env=self.environment(), capture_output=True, text=True, check=False, cwd=self.home
        )

    def begun(self, *words: str) -> subprocess.Popen[str]:
        """`shoal` in the background, its words readable as they come."""
        return subprocess.Popen(
            self.command(*words), env=self.environment(), stderr=subprocess.PIPE, text=True, cwd=self.home
        )

    def record(self, run: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder(run) / "run.json").read_text())
        return document

    def outcomes(self, run: str) -> dict[str, str]:
        return {name: node["outcome"] for name, node in self.record(run)["nodes"].items()}

    def attempts(self, run: str) -> dict[str, int]:
        return {name: len(node["attempts"]) for name, node in self.record(run)["nodes"].items()}

    def detections(self, run: str) -> dict[str, bytes]:
        found = self.folder(run).glob("*/videos/*/detections.jsonl")
        return {str(path.relative_to(self.folder(run))): path.read_bytes() for path in found}

    def engine(self, *words: str) -> str:
        """The lab's engine, with the docker client."""
        return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout

    def on(self, node: str, script: str) -> str:
        """A root shell on the machine, through the engine: not by ssh, which is what is tested."""
        return self.engine("exec", f"shoal-{self.lab.name}-{node}", "sh", "-c", script)

    def containers(self, node: str) -> list[str]:
        return self.on(node, "docker ps --all --filter label=shoal.run --format '{{.Names}}'").split()

    @contextmanager
    def file(self, node: str, name: str, content: bytes) -> Iterator[None]:
        """One more file under /videos while the block lasts."""
        target = f"shoal-{self.lab.name}-{node}"
        write = ["docker", "exec", "-i", target, "sh", "-c", 'cat >"$1"', "write", f"/videos/{name}"]
        subprocess.run(write, input=content, check=True)
        try:
            yield
        finally:
            subprocess.run(["docker", "exec", target, "rm", "--", f"/videos/{name}"], check=True)


def read_until(process: subprocess.Popen[str], *wanted: str, limit_s: float = 120) -> str:
    """Read the process's words until each of `wanted` was said in some line."""
    said, end = "", time.monotonic() + limit_s
    assert process.stderr is not None
    for line in process.stderr:
        said += line
        if all(words in said for words in wanted):
            return said
        assert time.monotonic() < end, said
    raise AssertionError(f"it ended without saying {wanted}:\n{said}")


def wait_for(condition: Callable[[], object], what: str, limit_s: float = 90) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)
