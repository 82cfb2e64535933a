"""Machines before they go: drained, off the engine's list, off the tailnet, and an honest line where that cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from shoal.cluster import overlay
from shoal.cluster.document import Cluster, Node, SshAccess
from shoal.cluster.overlay import Moved, Overlay
from shoal.engines.bacalhau import connect, secrets
from shoal.errors import ShoalError
from shoal.fleet import drain as draining
from shoal.fleet import leave as leaving
from shoal.fleet.drain import StillAtWorkError
from shoal.mesh import membership as members
from shoal.ssh import client as ssh
from shoal.ssh.failures import SshError, SshFailure

ADDRESSES = {"office": "192.0.2.10", "gate-1": "192.0.2.21", "gate-2": "192.0.2.22"}
MESH = {"office": "100.64.0.1", "gate-1": "100.64.0.2", "gate-2": "100.64.0.3"}
RUNNING = json.dumps({"BackendState": "Running", "Self": {"Online": True, "TailscaleIPs": ["100.64.0.9"]}})


class World:
    """Machines, each with addresses that answer and containers that run; and an orchestrator, if there is one."""

    def __init__(self) -> None:
        self.answering = {*ADDRESSES.values(), *MESH.values()}
        self.containers: dict[str, list[int]] = {name: [] for name in ADDRESSES}
        """Per machine how many containers are seen at each further look; none where the list is at its end."""
        self.stubborn: set[str] = set()
        self.deaf: set[str] = set()
        """Their Docker does not answer."""
        self.commands: list[tuple[str, str]] = []
        """Address and script."""
        self.engine: set[str] | None = None
        """Names that the orchestrator knows; None where it does not answer."""
        self.jobs = ["job-1"]
        self.stopped: list[str] = []
        self.off_tailnet: set[str] = set()
        self.gone_after: dict[str, int] = {}

    def run(self, cluster: Cluster, node: Node, *command: str, **how: Any) -> ssh.Completed:
        script = command[2] if command[:2] == ("sh", "-c") else " ".join(command)
        self.commands.append((node.address, script))
        left = self.gone_after.get(node.name)
        if left is not None:
            self.gone_after[node.name] = left - 1
        if node.address not in self.answering or (left is not None and left <= 0):
            raise SshError(node, SshFailure.TIMED_OUT, "gone")
        text = ""
        if "docker stop" in script and node.name not in self.stubborn:
            self.containers[node.name] = []
        elif "docker ps" in script:
            seen = self.containers[node.name]
            count = seen[0] if node.name in self.stubborn else seen.pop(0) if seen else 0
            text = "\n".join(f"container {number}" for number in range(count))
            text = "docker-fault not running" if node.name in self.deaf else text
        elif "tailscale status" in script:
            text = "" if node.name in self.off_tailnet else RUNNING
        elif "tailscale logout" in script:
            self.off_tailnet.add(node.name)
        return ssh.Completed(0, text.encode(), "")

    def probe(self, cluster: Cluster, wanted: tuple[Node, ...]) -> dict[str, str | None]:
        return {node.name: None if node.address in self.answering else "no answer" for node in wanted}

    def did(self, name: str, what: str) -> list[str]:
        """Addresses of the machine at which a script with these words ran."""
        mine = {ADDRESSES[name], MESH[name]}
        return [address for address, script in self.commands if address in mine and what in script]

    @contextmanager
    def client(self, cluster: Cluster) -> Iterator[Any]:
        if self.engine is None:
            raise ShoalError("the way to the orchestrator could not be opened")
        known = self.engine

        def job(identity: str) -> Any:
            # What the client's models come to: one execution on gate-1 as long as the job is not over.
            return SimpleNamespace(executions=SimpleNamespace(items=["gate-1"]))

        yield SimpleNamespace(
            nodes=lambda: [SimpleNamespace(id=name, name=name) for name in sorted(known)],
            act=lambda name, action, why: known.discard(name),
            live_jobs=lambda: [SimpleNamespace(id=it, name=it) for it in self.jobs if it not in self.stopped],
            job=job,
            stop=lambda identity, why: self.stopped.append(identity),
        )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> World:
    made = World()
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(draining, "POLL_S", 0.01)
    monkeypatch.setattr(draining, "QUIET_S", 0.0)
    monkeypatch.setattr(leaving, "STOP_TIMEOUT_S", 0.1)
    monkeypatch.setattr(ssh, "run", made.run)
    monkeypatch.setattr(ssh, "close", lambda cluster: None)
    monkeypatch.setattr(members, "probe", made.probe)
    monkeypatch.setattr(connect, "client_for", made.client)
    monkeypatch.setattr(draining, "execution_of", lambda name: SimpleNamespace(node=name, over=False))
    return made


def cluster(**more: Any) -> Cluster:
    roles = {"office": ("requester",)}
    machines = tuple(
        Node(name=name, roles=roles.get(name, ("compute",)), address=address, user="ops")
        for name, address in ADDRESSES.items()
    )
    return Cluster(**{"name": "quay", "substrate": "edge", "nodes": machines, **more})


def on_the_mesh() -> Cluster:
    found = cluster(mesh="tailscale")
    moved = {
        node.name: Moved(first_address=node.address, address=MESH[node.name], peer_address=MESH[node.name])
        for node in found.nodes
    }
    overlay.save(Overlay(cluster=found.name, services=True, nodes=moved))
    return found


def with_engine(world: World, *names: str) -> None:
    secrets.ensure("quay")
    world.engine = set(names or ADDRESSES)


def test_idle_machines_are_drained_and_no_mark_stays(world: World) -> None:
    said: list[str] = []
    done = leaving.leave(cluster(), said.append)
    assert sorted(done.drained) == ["gate-1", "gate-2"]
    assert (done.off_engine, done.off_tailnet, done.undone) == ([], [], [])
    for name in ("gate-1", "gate-2"):
        assert world.did(name, "systemctl disable --now")
        # Registered again, it is no drained node.
        assert world.did(name, "rm -f /var/lib/shoal/drained")
    assert world.did("office", "docker ps") == []


def test_running_work_is_waited_for(world: World) -> None:
    world.containers["gate-1"] = [2, 1]
    said: list[str] = []
    done = leaving.leave(cluster(), said.append, timeout_s=10)
    assert sorted(done.drained) == ["gate-1", "gate-2"]
    assert "gate-1: waiting for 2 containers" in said
    assert world.did("gate-1", "docker stop") == []


def test_work_that_goes_on_ends_it_with_nothing_unregistered(world: World) -> None:
    with_engine(world)
    world.jobs = []
    world.containers["gate-1"], world.stubborn = [1], {"gate-1"}
    with pytest.raises(StillAtWorkError, match="nothing was destroyed") as refused:
        leaving.leave(cluster(), lambda line: None, timeout_s=0.1)
    assert [str(fault) for fault in refused.value.faults] == ["gate-1: 1 container"]
    assert "--force" in str(refused.value)
    assert world.engine == set(ADDRESSES)
    assert world.did("gate-1", "systemctl disable") == []


def test_forced_work_is_stopped_in_the_engine_and_on_the_machines(world: World) -> None:
    with_engine(world)
    world.containers["gate-1"] = [1] * 50
    done = leaving.leave(cluster(), lambda line: None, force=True)
    assert world.stopped == ["job-1"]
    assert world.did("gate-1", "docker stop -t 30")
    assert sorted(done.drained) == ["gate-1", "gate-2"]


def test_forced_goes_on_where_a_container_does_not_end_and_says_so(world: World) -> None:
    world.containers["gate-1"], world.stubborn = [1], {"gate-1"}
    said: list[str] = []
    done = leaving.leave(cluster(), said.append, force=True)
    assert done.drained == ["gate-2"]
    assert [(it.step, it.node) for it in done.undone] == [("drain", "gate-1")]
    assert "  gate-1 is not drained: still at work after 0 s; gate-1: 1 container" in said


def test_the_engines_executions_are_waited_for_and_it_forgets_all_nodes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_engine(world, "gate-1", "gate-2", "office")
    asked = []

    def over(name: str) -> Any:
        asked.append(name)
        return SimpleNamespace(node=name, over=len(asked) > 2)

    monkeypatch.setattr(draining, "execution_of", over)
    said: list[str] = []
    done = leaving.leave(cluster(), said.append, timeout_s=10)
    assert "gate-1: waiting for job-1" in said
    assert done.off_engine == ["gate-1", "gate-2"]
    assert world.engine == {"office"}


def test_a_machine_that_was_taken_away_stops_nothing_and_is_told(world: World) -> None:
    with_engine(world)
    world.jobs = []
    world.answering -= {ADDRESSES["gate-2"]}
    said: list[str] = []
    done = leaving.leave(cluster(), said.append)
    assert done.drained == ["gate-1"]
    assert [str(it) for it in done.undone] == ["gate-2 is not drained: no answer"]
    assert "  gate-2 is not drained: no answer" in said
    # It is the orchestrator that forgets it, so that works.
    assert done.off_engine == ["gate-1", "gate-2"]


def test_one_that_goes_away_while_it_is_drained_leaves_the_others(world: World) -> None:
    world.containers["gate-2"], world.stubborn = [1], {"gate-2"}
    world.gone_after["gate-2"] = 3
    done = leaving.leave(cluster(), lambda line: None, timeout_s=0.2)
    assert done.drained == ["gate-1"]
    assert [(it.step, it.node) for it in done.undone] == [("drain", "gate-2")]
    assert "no answer in time" in done.undone[0].why


def test_docker_that_does_not_answer_keeps_a_machine_from_being_destroyed(world: World) -> None:
    world.deaf = {"gate-2"}
    with pytest.raises(StillAtWorkError, match="nothing was destroyed") as refused:
        leaving.leave(cluster(), lambda line: None, timeout_s=0.1)
    assert [str(fault) for fault in refused.value.faults] == ["gate-2: Docker there (not running)"]
    done = leaving.leave(cluster(), lambda line: None, force=True)
    assert [(it.step, it.node) for it in done.undone] == [("drain", "gate-2")]


def test_a_silent_orchestrator_is_told_and_the_machines_are_looked_at(world: World) -> None:
    secrets.ensure("quay")
    world.engine = None
    world.containers["gate-1"] = [1]
    done = leaving.leave(cluster(), lambda line: None, timeout_s=10)
    assert sorted(done.drained) == ["gate-1", "gate-2"]
    assert {(it.step, it.node) for it in done.undone} == {("engine", "gate-1"), ("engine", "gate-2")}
    assert "does not answer: the way to the orchestrator" in done.undone[0].why


def test_a_requester_that_computes_is_drained_too(world: World) -> None:
    both = Node(name="office", roles=("requester", "compute"), address=ADDRESSES["office"])
    done = leaving.leave(cluster(nodes=(both,)), lambda line: None)
    assert done.drained == ["office"]


def test_the_mesh_is_left_over_the_first_addresses_only(world: World) -> None:
    done = leaving.leave(on_the_mesh(), lambda line: None)
    assert done.off_tailnet == ["office", "gate-1", "gate-2"]
    assert world.off_tailnet == set(ADDRESSES)
    for name, first in ADDRESSES.items():
        assert world.did(name, "tailscale logout") == [first]
    # Drained over the mesh, as everything is there.
    assert set(world.did("gate-1", "docker ps")) == {MESH["gate-1"]}
    note = overlay.load("quay")
    assert note is not None
    assert (note.nodes, note.services) == ({}, False)


def test_who_is_reached_over_the_tailnet_only_is_not_logged_out_of_it(world: World) -> None:
    world.answering -= {ADDRESSES["gate-1"]}
    done = leaving.leave(on_the_mesh(), lambda line: None)
    assert sorted(done.drained) == ["gate-1", "gate-2"]
    assert done.off_tailnet == ["office", "gate-2"]
    assert [(it.step, it.node) for it in done.undone] == [("tailnet", "gate-1")]
    assert "is reached over the tailnet only" in done.undone[0].why
    note = overlay.load("quay")
    assert note is not None
    assert list(note.nodes) == ["gate-1"]  # still reached there


def test_who_does_not_answer_over_the_mesh_is_drained_at_its_first_address(world: World) -> None:
    world.answering -= {MESH["gate-1"]}
    done = leaving.leave(on_the_mesh(), lambda line: None)
    assert sorted(done.drained) == ["gate-1", "gate-2"]
    assert set(world.did("gate-1", "docker ps")) == {ADDRESSES["gate-1"]}
    assert done.off_tailnet == ["office", "gate-1", "gate-2"]
    assert done.undone == []


def test_a_machine_that_never_joined_is_not_logged_out(world: World) -> None:
    world.off_tailnet = {"gate-2"}
    done = leaving.leave(on_the_mesh(), lambda line: None)
    assert done.off_tailnet == ["office", "gate-1"]
    assert done.undone == []
    assert world.did("gate-2", "tailscale logout") == []


def test_a_key_that_is_gone_keeps_nothing_from_being_destroyed(
    world: World, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real probe looks for the file
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    gone = cluster(mesh="tailscale", ssh=SshAccess(identity_file=tmp_path / "gone"))
    done = leaving.leave(gone, lambda line: None)
    assert {(it.step, it.node) for it in done.undone} == {
        *(("drain", name) for name in ("gate-1", "gate-2")),
        *(("tailnet", name) for name in ADDRESSES),
    }


def test_a_stacks_token_becomes_the_nodes_and_leaves_the_other_keys(world: World) -> None:
    secrets.adopt("quay", SecretStr("from-the-stack"))
    first = secrets.load("quay")
    assert first is not None
    assert first.node_token.get_secret_value() == "from-the-stack"
    secrets.adopt("quay", SecretStr("raised"))
    second = secrets.load("quay")
    assert second is not None
    assert second.node_token.get_secret_value() == "raised"
    assert second.control_key == first.control_key
    assert secrets.path("quay").stat().st_mode & 0o077 == 0
