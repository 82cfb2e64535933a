"""A headscale that is given (SHOAL_HEADSCALE_BINARY) in the place of our own coordination server.

Relay and STUN are those of our server, which nobody joins here: headscale's own relay wants certificates.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailnet import Control, wait_for

from shoal.mesh import policy

VARIABLE = "SHOAL_HEADSCALE_BINARY"
OWNER = "ops@"


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listening:
        return int(listening.getsockname()[1])


@dataclass
class Headscale:
    """Started, stopped, started again with the state it had; asked by its own command."""

    address: str
    folder: Path
    relay: Control
    ephemeral_s: int = 75
    url: str = ""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.folder / "headscale.yaml"

    def start(self) -> None:
        if not self.config.exists():
            self._configure()
        log = (self.folder / "headscale.log").open("a")
        command = [os.environ[VARIABLE], "--config", str(self.config), "serve"]
        self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for("headscale", self._answers, timeout_s=30)
        if OWNER.rstrip("@") not in self.run("users", "list", "-o", "json"):
            self.run("users", "create", OWNER.rstrip("@"))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None

    def run(self, *arguments: str) -> str:
        command = [os.environ[VARIABLE], "--config", str(self.config), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"headscale {' '.join(arguments)}: {done.stderr[-1000:]}{done.stdout[-1000:]}"
        return done.stdout

    def key(self, *, Tags: list[str], Reusable: bool = True, Ephemeral: bool = True, ExpiresS: float = 3600) -> str:  # noqa: N803 - as our own server's
        words = ["preauthkeys", "create", "--tags", ",".join(Tags), "--expiration", f"{ExpiresS:.0f}s", "-o", "json"]
        words += [flag for flag, wanted in (("--reusable", Reusable), ("--ephemeral", Ephemeral)) if wanted]
        return str(json.loads(self.run(*words))["key"])

    def nodes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("nodes", "list", "-o", "json")) or []
        return found

    def node(self, address: str) -> dict[str, Any]:
        return next(node for node in self.nodes() if address in node["ip_addresses"])

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "headscale.log").read_text()[-2000:]
        command = [os.environ[VARIABLE], "--config", str(self.config), "users", "list", "-o", "json"]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0

    def _configure(self) -> None:
        port = _free_port(self.address)
        self.url = f"http://{self.address}:{port}"
        kept = json.loads((self.relay.folder / "control.json").read_text())
        relay = {
            "regions": {
                900: {
                    "regionid": 900, "regioncode": "test", "regionname": "test",
                    "nodes": [{
                        "name": "900a", "regionid": 900, "hostname": self.address, "ipv4": self.address,
                        "ipv6": "none", "stunport": kept["STUNPort"], "derpport": kept["RelayPort"],
                        "insecurefortests": True,
                    }],
                }
            }
        }  # fmt: skip
        (self.folder / "derp.yaml").write_text(json.dumps(relay))
        (self.folder / "policy.hujson").write_text(policy.render(owners=[OWNER]))
        settings = {
            "server_url": self.url,
            "listen_addr": f"{self.address}:{port}",
            "metrics_listen_addr": "127.0.0.1:0",
            "grpc_listen_addr": "127.0.0.1:0",
            "noise": {"private_key_path": str(self.folder / "noise.key")},
            "prefixes": {"v4": "100.64.0.0/10", "v6": "fd7a:115c:a1e0::/48"},
            "derp": {
                "server": {"enabled": False}, "urls": [], "paths": [str(self.folder / "derp.yaml")],
                "auto_update_enabled": False,
            },
            "disable_check_updates": True,
            "node": {"ephemeral": {"inactivity_timeout": f"{self.ephemeral_s}s"}},
            "database": {"type": "sqlite", "sqlite": {"path": str(self.folder / "db.sqlite")}},
            "policy": {"mode": "file", "path": str(self.folder / "policy.hujson")},
            "dns": {"magic_dns": False, "base_domain": "hs.test", "override_local_dns": False},
            "unix_socket": str(self.folder / "hs.sock"),
            "logtail": {"enabled": False},
        }  # fmt: skip
        # JSON is YAML, too.
        self.config.write_text(json.dumps(settings))
