"""The way to the orchestrator's API: an SSH forward from a private Unix socket to the requester's loopback.

The API listens on the requester's loopback alone, so nobody on any network can even try a key, and the key never
crosses a network in the clear. The forward is the strict OpenSSH client of `shoal.ssh.client`; it is started again when
it ends.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

from shoal.cluster.document import Cluster
from shoal.engines.bacalhau import API_PORT
from shoal.engines.bacalhau.client import Endpoint, EngineSilentError
from shoal.ssh import client as ssh

OPEN_TIMEOUT_S = 20.0
POLL_S = 0.05
PREFIX = "api-"


class Tunnel(Endpoint):
    """An `Endpoint` that leads through SSH to a cluster's requester. Close it, or use it in a `with` block."""

    def __init__(self, cluster: Cluster, api_key: str, *, port: int = API_PORT) -> None:
        folder = ssh.control_dir()
        _sweep(folder)
        self._socket = folder / f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        super().__init__(api_key, address=f"127.0.0.1:{port}", socket=self._socket)
        self._cluster, self._port = cluster, port
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def ensure(self) -> None:
        """Have the forward up. Raises EngineSilentError where the requester cannot be reached, in ssh's own terms."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._process = self._start()

    def close(self) -> None:
        """End the forward and remove the socket."""
        with self._lock:
            if self._process is not None:
                self._process.terminate()
                self._process.communicate()
            self._process = None
            self._socket.unlink(missing_ok=True)

    def _start(self) -> subprocess.Popen[bytes]:
        node = self._cluster.requester
        self._socket.unlink(missing_ok=True)
        # The first value of an option counts. A connection of its own: a shared one would outlive or end it.
        own = ("ControlMaster=no", "ControlPath=none", "ExitOnForwardFailure=yes", "StreamLocalBindMask=0177")
        options = [word for option in own for word in ("-o", option)]
        # `cat` there reads what nobody writes: when this process ends, however it ends, so does the connection.
        program, *rest = ssh.ssh_command(self._cluster, node, "cat")
        argv = [program, "-T", *options, "-L", f"{self._socket}:127.0.0.1:{self._port}", *rest]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )
            deadline = time.monotonic() + OPEN_TIMEOUT_S
            while not self._socket.exists():
                ended = process.poll() is not None
                if ended or time.monotonic() > deadline:
                    process.kill()
                    process.communicate()
                    errors.seek(0)
                    said = errors.read().decode(errors="replace").strip()
                    why = said.splitlines()[-1] if said else f"no connection within {OPEN_TIMEOUT_S:.0f} s"
                    raise EngineSilentError(f"the requester {node.name} cannot be reached over SSH ({why})")
                time.sleep(POLL_S)  # until the socket is there, or the deadline
        return process


def _sweep(folder: Path) -> None:
    """Remove sockets of processes that were killed."""
    for left in folder.glob(f"{PREFIX}*-*"):
        if not Path("/proc", left.name.removeprefix(PREFIX).partition("-")[0]).exists():
            left.unlink(missing_ok=True)
