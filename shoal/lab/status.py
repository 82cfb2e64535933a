"""`status`: what there is of a lab, asked of the engine and the nodes now."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from docker.models.containers import Container

from shoal.errors import Exit, ShoalError
from shoal.lab import cameras, client, state, store
from shoal.lab import engine as engines
from shoal.lab import network as networks
from shoal.lab import node as nodes
from shoal.lab.client import Engine, plain_errors
from shoal.lab.spec import CAMERAS, STORE, LabSpec, check, machine_names, node_address
from shoal.lab.state import LabFacts
from shoal.paths import cluster_document
from shoal.telling import Say, to_stderr


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One machine."""

    name: str
    address: str
    container: str
    """The container's state: `running`, `exited`, ..., or `missing`."""
    boot: str
    """systemd's own word: `running`, `degraded`, `starting`, ...; `-` where it cannot be asked."""
    ssh: bool
    """Whether sshd answers."""
    services: dict[str, bool] = field(default_factory=dict)
    """Of the cameras' and the store's machine: whether each answers."""

    @property
    def ready(self) -> bool:
        """Whether it can be worked with."""
        return self.container == "running" and self.boot in nodes.SETTLED and self.ssh and all(self.services.values())


@dataclass(frozen=True, slots=True)
class LabStatus:
    """A lab as it is now."""

    name: str
    exists: bool
    engine: str
    engine_answers: bool
    subnet: str = ""
    network: bool = False
    metadata_blocked: bool = False
    document: str = ""
    nodes: tuple[NodeStatus, ...] = ()

    @property
    def running(self) -> bool:
        """Whether all of it is up."""
        return self.exists and self.network and bool(self.document) and all(node.ready for node in self.nodes)


def status(name: str, *, say: Say = to_stderr) -> LabStatus:
    """Look at the lab; changes and starts nothing."""
    check(LabSpec(name=name))
    facts = state.load_facts(name)
    if facts is None:
        return LabStatus(name, exists=False, engine="", engine_answers=False)
    answer = client.connect(facts.engine_url)
    if isinstance(answer, str):
        say(f"lab: the engine at {facts.engine_url} does not answer: {answer}")
        there: dict[str, Container] = {}
        network = False
    else:
        engine = Engine(facts.engine_url, answer)
        there, network = nodes.find_all(engine, name), networks.existing(engine, name) is not None
    asked = machine_names(facts.compute, facts.cameras)
    wanted = [*asked, *sorted(set(there) - set(asked))]
    path = cluster_document(name)
    return LabStatus(
        name,
        exists=True,
        engine=facts.engine_url,
        engine_answers=not isinstance(answer, str),
        subnet=facts.subnet,
        network=network,
        metadata_blocked=facts.metadata_blocked,
        document=str(path) if path.exists() else "",
        nodes=tuple(_node(facts, node, there.get(node)) for node in wanted),
    )


def container_of(lab: str, node: str) -> Container:
    """The container of a node, for its logs. Raises ShoalError where there is none."""
    check(LabSpec(name=lab))
    facts = state.load_facts(lab)
    if facts is None:
        raise ShoalError(f"there is no lab {lab!r}", hint="`shoal lab up` makes one", exit_code=Exit.MISSING)
    there = nodes.find_all(engines.open_engine(facts.engine_url), lab)
    if node not in there:
        names = ", ".join(sorted(there)) or "none"
        raise ShoalError(f"lab {lab!r} has no node {node!r}", hint=f"nodes there are: {names}", exit_code=Exit.USAGE)
    return there[node]


def _node(facts: LabFacts, name: str, container: Container | None) -> NodeStatus:
    address = node_address(facts.subnet, name)
    if container is None:
        return NodeStatus(name, address, "missing", "-", ssh=False)
    with plain_errors(f"asking node {name}"):
        boot = nodes.boot_state(container)
    if container.status != "running":
        return NodeStatus(name, address, container.status, "-", ssh=False)
    ports = {CAMERAS: cameras.ports(facts), STORE: {"s3": store.PORT}}.get(name, {})
    services = {service: _answers(address, port) for service, port in ports.items()}
    return NodeStatus(name, address, "running", boot, nodes.sshd_answers(address), services)


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=nodes.BANNER_TIMEOUT_S):
            return True
    except OSError:
        return False
