"""Checks over SSH of real machines: those of the cluster that SHOAL_SUBSTRATE and the other variables name.

testinfra's own backends are given each host explicitly: with none it would test the machine it runs on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest
import testinfra
from testinfra.host import Host

from shoal.cluster.document import Cluster, Node, Substrate
from shoal.deploys import inventory
from shoal.errors import ShoalError
from shoal.files import write_atomic

CLUSTER = pytest.StashKey[Cluster]()


def selected(config: pytest.Config) -> bool:
    expression = config.option.markexpr or ""
    return "live" in expression and "not live" not in expression


def pytest_configure(config: pytest.Config) -> None:
    """The cluster is chosen once, where every command chooses it; the line that tells which comes first.

    A document that is missing or faulty is one message, not an error of every file.
    """
    if not selected(config):
        return
    try:
        config.stash[CLUSTER] = inventory.load(cast(Substrate, os.environ.get("SHOAL_SUBSTRATE", "lab")))
    except ShoalError as error:
        pytest.exit(str(error), returncode=error.exit_code)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `machine`, `requester` or `worker` runs once per such node; without the marker, never."""
    wanted = {"machine", "requester", "worker"} & set(metafunc.fixturenames)
    if not wanted:
        return
    cluster = metafunc.config.stash.get(CLUSTER, None)
    for name in wanted:
        nodes: tuple[Node, ...] = ()
        if cluster is not None:
            nodes = {"machine": cluster.nodes, "requester": (cluster.requester,), "worker": cluster.compute}[name]
        metafunc.parametrize(name, nodes, ids=[node.name for node in nodes], indirect=True)


@pytest.fixture(scope="session")
def live_cluster(pytestconfig: pytest.Config) -> Cluster:
    return pytestconfig.stash[CLUSTER]


@pytest.fixture(scope="session")
def ssh_config(live_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Strict host keys, no questions, and one connection per machine: without that every check would connect anew."""
    folder = tmp_path_factory.mktemp("ssh")
    ssh = live_cluster.ssh
    lines = [f"Include {ssh.config_file}" if ssh.config_file else ""]
    for node in live_cluster.nodes:
        lines += [f"Host {node.name}", f"  HostName {node.address}", f"  Port {node.port}", f"  User {node.user}"]
        lines += [f"  IdentityFile {ssh.identity_file}", "  IdentitiesOnly yes"] if ssh.identity_file else []
        lines += [f"  UserKnownHostsFile {ssh.known_hosts_file}"] if ssh.known_hosts_file else []
        lines += [f"  ProxyCommand {proxy}"] if (proxy := node.proxy(ssh)) else []
    sockets = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp") / f"shoal-live-{os.getpid()}-%C"
    lines += ["Host *", "  StrictHostKeyChecking yes", "  BatchMode yes", "  ControlMaster auto"]
    lines += ["  ControlPersist 20", f"  ControlPath {sockets}"]
    path = folder / "config"
    write_atomic(path, "\n".join(lines) + "\n", mode=0o600)
    return path


def _connected(node: Node, ssh_config: Path) -> Host:
    sudo = "" if node.user == "root" else "&sudo=true"
    host = testinfra.get_host(f"ssh://{node.name}?ssh_config={quote(str(ssh_config))}&timeout=20{sudo}")
    host.node = node
    return host


@pytest.fixture
def machine(request: pytest.FixtureRequest, ssh_config: Path) -> Host:
    """Any node."""
    return _connected(request.param, ssh_config)


@pytest.fixture
def requester(request: pytest.FixtureRequest, ssh_config: Path) -> Host:
    """The requester."""
    return _connected(request.param, ssh_config)


@pytest.fixture
def worker(request: pytest.FixtureRequest, ssh_config: Path) -> Host:
    """A compute node."""
    return _connected(request.param, ssh_config)
