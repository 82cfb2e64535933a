"""The way to the orchestrator's API: an SSH forward from a private Unix socket to the requester's loopback.

The API listens on the requester's loopback alone, so no one on any network can even try a key, and the key never
crosses a network in the clear. The forward is the strict OpenSSH client of `shoal.ssh.client`; it is started again when
it ends.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from shoal.cluster.document import Cluster
from shoal.engines.bacalhau import API_PORT
from shoal.engines.bacalhau.client import Endpoint, EngineSilentError
from shoal.ssh import client as ssh
from shoal.ssh import connect
from shoal.waiting import looks

OPEN_TIMEOUT_S = 20.0
POLL_S = 0.05
PREFIX = "api-"


class Tunnel(Endpoint):
    """An `Endpoint` that leads through SSH to a cluster's requester. Close it, or use it in a `with` block."""

    def __init__(self, cluster: Cluster, api_key: str, *, port: int = API_PORT) -> None:
        folder = connect.control_dir()
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
        argv = _command(self._cluster, f"{self._socket}:127.0.0.1:{self._port}", "StreamLocalBindMask=0177")
        return _forward(argv, lambda: _listens(self._socket), node.name)


@contextmanager
def on_loopback(cluster: Cluster, *, port: int = API_PORT) -> Iterator[int]:
    """A forward from a free port of this machine's loopback to the API, for programs that take no Unix socket.

    Gives the port. Who else is on this machine can reach it too, and needs a key. Raises EngineSilentError.
    """
    local = _free_port()
    argv = _command(cluster, f"127.0.0.1:{local}:127.0.0.1:{port}")
    process = _forward(argv, lambda: _listens(("127.0.0.1", local)), cluster.requester.name)
    try:
        yield local
    finally:
        process.terminate()
        process.communicate()


def _command(cluster: Cluster, forward: str, *more: str) -> list[str]:
    # The first value of an option counts. A connection of its own: a shared one would outlive or end it.
    own = ("ControlMaster=no", "ControlPath=none", "ExitOnForwardFailure=yes", *more)
    options = [word for option in own for word in ("-o", option)]
    # `cat` there reads from a pipe that stays empty: when this process ends, however it ends, so does the connection.
    program, *rest = ssh.ssh_command(cluster, cluster.requester, "cat")
    return [program, "-T", *options, "-L", forward, *rest]


def _forward(argv: Sequence[str], listens: Callable[[], bool], requester: str) -> subprocess.Popen[bytes]:
    """Start ssh and wait until its end takes connections. Raises EngineSilentError in ssh's own words."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        for look in looks(POLL_S, timeout_s=OPEN_TIMEOUT_S):
            # First whether ssh lives: what listens at a port may be somebody else's.
            ended = process.poll() is not None
            if not ended and listens():
                return process
            if ended or look.last:
                process.kill()
                process.communicate()
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip()
                why = said.splitlines()[-1] if said else f"no connection within {OPEN_TIMEOUT_S:.0f} s"
                raise EngineSilentError(f"the requester {requester} cannot be reached over SSH ({why})")
        raise AssertionError("the last look returns or raises")


def _listens(address: Path | tuple[str, int]) -> bool:
    """Whether a connection is taken. A socket's file is there a moment before: between bind and listen it refuses."""
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.connect(str(address) if isinstance(address, Path) else address)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _sweep(folder: Path) -> None:
    """Remove sockets of processes that were killed."""
    for left in folder.glob(f"{PREFIX}*-*"):
        if not Path("/proc", left.name.removeprefix(PREFIX).partition("-")[0]).exists():
            left.unlink(missing_ok=True)
