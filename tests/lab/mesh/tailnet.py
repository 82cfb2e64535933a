"""The tailnet under test: our coordination server, real daemons, and the control machine's own way onto the mesh."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from shoal.paths import repository
from tests.own_folders import downloads

VERSION = "1.102.5"
SOURCE = repository() / "tests" / "mesh" / "control"
BUILD_TIMEOUT_S = 1500
DOMAIN = "mesh.test"


def wait_for(what: str, check: Callable[[], Any], timeout_s: float = 60, every_s: float = 0.3) -> Any:
    """The first true answer of `check`; fails with `what` when the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        if found := check():
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(every_s)


def _go(*arguments: str, cwd: Path, **variables: str) -> None:
    if shutil.which("go") is None:
        pytest.skip("there is no Go here; the mesh's tests build tailscale and a coordination server with it")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", **variables}
    command = ["nice", "-n", "19", "go", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        if "requires go >=" in done.stderr or "module lookup disabled" in done.stderr or "dial tcp" in done.stderr:
            pytest.skip(f"Go cannot build it here: {done.stderr.strip().splitlines()[-1]}")
        pytest.fail(f"go {' '.join(arguments)}: {done.stderr[-2000:]}")


def binaries() -> Path:
    """tailscale and tailscaled of the pinned version, built once and kept in the cache (minutes)."""
    if given := os.environ.get("SHOAL_TAILSCALE_BINARIES"):
        return Path(given)
    folder = downloads() / "tailscale" / f"v{VERSION}"
    if not all((folder / name).is_file() for name in ("tailscale", "tailscaled")):
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        stamps = " ".join(f"-X tailscale.com/version.{name}Stamp={VERSION}" for name in ("short", "long"))
        programs = [f"tailscale.com/cmd/{name}@v{VERSION}" for name in ("tailscale", "tailscaled")]
        _go("install", "-trimpath", "-ldflags", f"-s -w {stamps}", *programs, cwd=part, GOBIN=str(part), GOFLAGS="")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    return folder


def control_program() -> Path:
    """Our coordination server, built once for its sources and the modules it is locked to."""
    digest = hashlib.sha256()
    for file in sorted(SOURCE.glob("*")):
        digest.update(file.name.encode() + file.read_bytes())
    program = downloads() / "mesh-control" / f"control-{digest.hexdigest()[:16]}"
    if not program.is_file():
        program.parent.mkdir(parents=True, exist_ok=True)
        part = program.with_suffix(".part")
        _go("build", "-trimpath", "-o", str(part), ".", cwd=SOURCE, GOFLAGS="-mod=readonly")
        part.rename(program)
    return program


@dataclass
class Control:
    """Our coordination server: started, stopped, started again with the state it had."""

    address: str
    folder: Path
    ephemeral_s: int = 75
    url: str = ""
    _admin: str = ""
    _process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [str(control_program()), "-listen", f"{self.address}:0", "-domain", DOMAIN]
        command += ["-state", str(self.folder / "control.json"), "-ephemeral", f"{self.ephemeral_s}s"]
        log = (self.folder / "control.log").open("a")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.url, self._admin = told["url"], told["admin"]

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self._admin}{path}", data=data, timeout=10) as answer:
            return json.load(answer)

    def key(self, **wanted: Any) -> str:
        """A key: Tags, Reusable, Ephemeral, Preauthorized, ExpiresS, Key."""
        return str(self.ask("/keys", {"Reusable": True, "Preauthorized": True, **wanted})["key"])

    def client(self, *tags: str) -> str:
        """An OAuth client secret, with the address of this server for the interface that keys are made at."""
        return f"{self.ask('/clients', {'Tags': list(tags)})['secret']}?baseURL={self.url}"

    def made(self, client: str) -> list[dict[str, Any]]:
        """What keys were made of a client's secret: Ephemeral, Preauthorized, Tags."""
        made: list[dict[str, Any]] = self.ask(f"/clients/made?secret={client.partition('?')[0]}")
        return made

    def devices(self) -> dict[str, dict[str, Any]]:
        return {device["name"]: device for device in self.ask("/devices")}

    def policy(self, **wanted: Any) -> None:
        self.ask("/policy", wanted)

    def act(self, action: str, name: str) -> None:
        self.ask(f"/devices/{name}/{action}", {})


@dataclass
class Client:
    """The control machine on the mesh, without a network device: `proxy_command` is its way in."""

    folder: Path
    control: Any
    hostname: str = "desk"
    tag: str = "tag:shoal-client"
    _process: subprocess.Popen[bytes] | None = None
    _log: list[Any] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.folder / "ts.sock"

    @property
    def proxy_command(self) -> str:
        return f"{binaries() / 'tailscale'} --socket={self.socket} nc %h %p"

    def run(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        command = [str(binaries() / "tailscale"), f"--socket={self.socket}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)

    def start(self) -> None:
        log = (self.folder / "client.log").open("a")
        self._process = subprocess.Popen(
            [
                str(binaries() / "tailscaled"), "--tun=userspace-networking", "--state=mem:", f"--socket={self.socket}",
                f"--statedir={self.folder}", "--port=0",
            ],
            env={**os.environ, "TS_NO_LOGS_NO_SUPPORT": "true"}, stdout=log, stderr=log,
        )  # fmt: skip
        key = self.folder / "key"
        key.touch(mode=0o600)
        key.write_text(self.control.key(Tags=[self.tag], Ephemeral=True))
        wait_for("the client's daemon", self.socket.exists)
        done = self.run(
            "up", f"--auth-key=file:{key}", f"--login-server={self.control.url}", f"--hostname={self.hostname}",
            "--timeout=60s",
        )  # fmt: skip
        key.unlink()
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        if self._process is not None:
            self.run("logout", timeout_s=30)
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None


@contextmanager
def started(thing: Any) -> Iterator[Any]:
    """`thing` between its start and its stop."""
    thing.start()
    try:
        yield thing
    finally:
        thing.stop()
