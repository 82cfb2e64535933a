"""The way to the API through SSH: opened when needed, opened again when it ended, gone with its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from shoal.cluster.document import Cluster
from shoal.engines.bacalhau.client import BacalhauClient, Endpoint, EngineSilentError
from shoal.engines.bacalhau.tunnel import Tunnel, on_loopback
from shoal.ssh import connect
from tests.shoal.engines.bacalhau.standin import serving

# Forwards the socket of -L as ssh does, and ends when its standard input does, as `cat` on the other side.
SSH = """#!{python}
import os, socket, sys, threading, time
if os.environ.get("FAKE_SSH") == "refuse":
    sys.exit("ops@192.0.2.10: Permission denied (publickey).")
*place, host, port = sys.argv[sys.argv.index("-L") + 1].split(":")
listener = socket.socket(socket.AF_UNIX if len(place) == 1 else socket.AF_INET)
listener.bind(place[0] if len(place) == 1 else (place[0], int(place[1])))
time.sleep(float(os.environ.get("FAKE_SSH_BETWEEN_BIND_AND_LISTEN_S", "0")))
listener.listen()
def copy(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
def serve():
    while True:
        one, _ = listener.accept()
        other = socket.create_connection((host, int(port)))
        for pair in ((one, other), (other, one)):
            threading.Thread(target=copy, args=pair, daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
open(os.environ["FAKE_SSH_LOG"], "a").write(f"{{os.getpid()}} {{' '.join(sys.argv)}}\\n")
sys.stdin.buffer.read()
"""


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """Puts the stand-in for ssh on the path; gives the process ids of those that were started."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH.format(python=sys.executable))
    program.chmod(0o755)
    log = tmp_path / "log"
    log.touch()
    runtime = tmp_path / "r"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SSH_LOG", str(log))
    monkeypatch.setattr(connect, "control_dir", lambda: runtime)
    return lambda: [int(line.split()[0]) for line in log.read_text().splitlines()]


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def gone(process: int) -> bool:
    deadline = time.monotonic() + 5
    while Path(f"/proc/{process}/stat").exists():
        if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_opened_when_needed_and_again_when_it_ended(cluster: Cluster, started: Callable[[], list[int]]) -> None:
    with serving("finished") as stand_in:
        tunnel = Tunnel(cluster, "KEY", port=port_of(stand_in.address))
        assert started() == []
        with BacalhauClient(tunnel, timeout_s=5) as client:
            assert len(client.nodes()) == 4
            (first,) = started()
            os.kill(first, signal.SIGKILL)
            assert gone(first)
            with suppress(EngineSilentError):  # noticed before the call, or by it
                client.nodes()
            assert len(client.nodes()) == 4
            second = started()[-1]
            assert second != first
            assert tunnel.socket is not None
            assert tunnel.socket.exists()
        assert gone(second)
        assert not tunnel.socket.exists()


def test_a_requester_that_cannot_be_reached_is_told_in_sshs_words(
    cluster: Cluster, started: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SSH", "refuse")
    with BacalhauClient(Tunnel(cluster, "KEY"), timeout_s=5) as client:
        with pytest.raises(EngineSilentError, match=r"requester cannot be reached over SSH .*Permission denied"):
            client.nodes()
        assert client.alive() is False
    assert started() == []


def test_the_key_is_in_no_argument(cluster: Cluster, started: Callable[[], list[int]], tmp_path: Path) -> None:
    with serving("finished") as stand_in:
        tunnel = Tunnel(cluster, "a-key-nobody-may-see", port=port_of(stand_in.address))
        with BacalhauClient(tunnel, timeout_s=5) as client:
            client.nodes()
        said = (tmp_path / "log").read_text()
    assert "nobody" not in said
    assert "StrictHostKeyChecking=yes" in said
    assert started()


def test_sockets_of_killed_processes_are_swept(cluster: Cluster, started: Callable[[], list[int]]) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = connect.control_dir() / f"api-{ended.pid}-0123"
    ours = connect.control_dir() / f"api-{os.getpid()}-4567"
    left.touch()
    ours.touch()
    Tunnel(cluster, "KEY").close()
    assert not left.exists()
    assert ours.exists()
    assert started() == []


def test_a_busy_ssh_that_has_bound_and_does_not_listen_yet_is_waited_for(
    cluster: Cluster, started: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SSH_BETWEEN_BIND_AND_LISTEN_S", "0.7")
    with serving("finished") as stand_in:
        tunnel = Tunnel(cluster, "KEY", port=port_of(stand_in.address))
        with BacalhauClient(tunnel, timeout_s=5) as client:
            assert client.nodes()
        with on_loopback(cluster, port=port_of(stand_in.address)) as port:
            endpoint = Endpoint("KEY", address=f"127.0.0.1:{port}")
            with BacalhauClient(endpoint, timeout_s=5) as client:
                assert client.nodes()
    assert len(started()) == 2
    assert all(gone(process) for process in started())
