"""Approving and forgetting by exact name, on an orchestrator that takes every name for the beginning of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shoal.cluster import document as clusters
from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster
from shoal.deploys import run as deploys
from shoal.engines.bacalhau import connect, secrets
from shoal.engines.bacalhau.client import AMBIGUOUS, EngineError, refusal
from shoal.engines.bacalhau.models import EngineNode
from shoal.errors import Exit, ShoalError, UsageError
from shoal.fleet import drain as draining
from shoal.fleet import engine_list as approval
from shoal.fleet import leave as leaving
from shoal.fleet import remove as fleet_remove
from shoal.fleet.leave import Parting


class Orchestrator:
    """The engine's list of nodes, with its own ways: what is begun by a name is meant by it, if it is the only one."""

    def __init__(self, *names: str, approved: tuple[str, ...] = (), away: tuple[str, ...] = ()) -> None:
        self.membership = {name: "APPROVED" if name in approved else "PENDING" for name in names}
        self.away = set(away)
        self.done: list[str] = []
        self.back: list[str] = []
        """Deleted while they were connected: there again, pending, at the second look after that."""
        self.looks = 0

    def __enter__(self) -> Orchestrator:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def nodes(self) -> list[EngineNode]:
        if self.back:
            self.looks += 1
            if self.looks > 1:
                self.membership |= dict.fromkeys(self.back, "PENDING")
                self.back, self.looks = [], 0
        return [self._node(name, membership) for name, membership in self.membership.items()]

    def act(self, name: str, action: str, message: str) -> None:
        hits = [one for one in self.membership if one.startswith(name)]
        if len(hits) > 1:
            self._refuse(409, "MultipleNodesFound", f"multiple nodes found for prefix: {name}")
        if not hits:
            self._refuse(404, "NotFound", f"node not found: {name}")
        found = hits[0]
        self.done.append(f"{action} {found}")
        if action == "delete":
            del self.membership[found]
            if found not in self.away and not found.endswith("-orchestrator"):
                self.back.append(found)
        elif self.membership[found] == "APPROVED":
            self._refuse(409, "ConflictNodeState", f"node {found} already approved")
        else:
            self.membership[found] = "APPROVED"

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = {"Status": status, "Code": code, "Message": message, "Component": "NodesManager"}
        raise refusal(status, json.dumps(body).encode(), "PUT /orchestrator/nodes")

    def _node(self, name: str, membership: str) -> EngineNode:
        kind = "Requester" if name.endswith("-orchestrator") else "Compute"
        state = {"Status": "DISCONNECTED" if name in self.away else "CONNECTED"}
        raw: dict[str, Any] = {"Info": {"NodeID": name, "NodeType": kind}, "Membership": membership}
        return EngineNode.model_validate({**raw, "ConnectionState": state})


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    monkeypatch.setattr(approval, "POLL_S", 0.001)
    secrets.ensure("lab")
    machines = [{"name": "requester", "roles": ["requester"], "address": "192.0.2.10"}]
    machines += [{"name": f"compute-{n}", "roles": ["compute"], "address": f"192.0.2.{20 + n}"} for n in (1, 2, 10)]
    return clusters.parse({"name": "lab", "substrate": "lab", "nodes": machines}, source="test")


def there(monkeypatch: pytest.MonkeyPatch, *names: str, **more: Any) -> Orchestrator:
    made = Orchestrator(*names, **more)
    monkeypatch.setattr(connect, "client_for", lambda _: made)
    return made


def test_a_refusal_keeps_the_engines_own_code() -> None:
    with pytest.raises(EngineError) as refused:
        Orchestrator("gate-1", "gate-10").act("gate-1", "approve", "test")
    assert (refused.value.status, refused.value.code) == (409, AMBIGUOUS)


def test_names_that_begin_others_are_forgotten_with_them(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["compute-1", "compute-10", "compute-2"]
    orchestrator = there(monkeypatch, *names, away=tuple(names))
    done = approval.forget(cluster, names)
    assert (done.names, done.left) == (names, {})
    assert orchestrator.membership == {}


def test_what_the_orchestrator_does_not_know_is_not_another_ones_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator = there(monkeypatch, "compute-10")
    assert approval.forget(cluster, ["compute-1"]).names == []
    with pytest.raises(UsageError, match="no node called compute-1"):
        approval.approve(cluster, ["compute-1"], lambda _: None)
    assert orchestrator.done == []


@pytest.mark.parametrize("gone", [True, False])
def test_a_removal_goes_to_its_end_where_an_old_entry_has_to_stay(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gone: bool
) -> None:
    document, done = tmp_path / "lab.json", []
    clusters.save(cluster, document)
    monkeypatch.setattr(fleet_remove, "drain", lambda *_, **__: done.append("drain"))
    monkeypatch.setattr(draining, "unmark", lambda *_: done.append("unmark"))
    monkeypatch.setattr(deploys, "run_deploy", lambda _, name, **__: done.append(name))
    there(monkeypatch, "compute-1", "compute-2", "compute-10", away=("compute-1",))
    with pytest.raises(ShoalError, match="removed, but for the orchestrator's list") as told:
        fleet_remove.remove(reaches.load(document), ["compute-1", "compute-2"], lambda _: None, timeout_s=1, gone=gone)
    assert told.value.exit_code is Exit.INCOMPLETE
    assert [fault.where for fault in told.value.faults] == ["compute-1"]
    assert "cannot tell it from compute-10" in told.value.faults[0].what
    assert done == ([] if gone else ["drain", "teardown", "unmark"])
    assert [node.name for node in clusters.load(document).compute] == ["compute-10"]


def test_no_id_that_shoal_gives_begins_another_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So a removal leaves nothing on the orchestrator's list, and an approval takes nobody off it."""
    document, ids = tmp_path / "lab.json", [f"compute-{n}_node" for n in (1, 2, 10)]
    clusters.save(cluster, document)
    orchestrator = there(monkeypatch, *ids, approved=("compute-10_node",), away=("compute-1_node",))
    fleet_remove.remove(reaches.load(document), ["compute-1"], lambda _: None, timeout_s=1, gone=True)
    said: list[str] = []
    approval.approve(cluster, ["compute-2"], said.append)
    assert orchestrator.done == ["delete compute-1_node", "approve compute-2_node"]
    assert said == ["compute-2: approved"]


def test_an_entry_of_a_former_deploy_goes_with_the_node(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    orchestrator = there(monkeypatch, "compute-1", "compute-1_node", "compute-2", away=("compute-1", "compute-1_node"))
    done = approval.forget(cluster, ["compute-1"])
    assert (done.names, done.left) == (["compute-1"], {})
    assert list(orchestrator.membership) == ["compute-2"]


def test_a_destroy_tells_what_stays_and_forgets_the_rest(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("compute-1", "compute-2", "compute-10")
    there(monkeypatch, *names, "compute-2-orchestrator", away=names)
    parting = Parting()
    leaving._off_the_engine(cluster, parting)
    assert parting.off_engine == ["compute-1", "compute-10"]
    (left,) = parting.undone
    assert (left.step, left.node) == ("engine", "compute-2")
    assert "does no harm" in left.why


def test_all_at_once_are_approved_the_shortest_first(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["compute-10", "compute-1", "compute-2"]
    orchestrator = there(monkeypatch, *names)
    said: list[str] = []
    approval.approve(cluster, names, said.append)
    assert orchestrator.membership == dict.fromkeys(sorted(names), "APPROVED")
    assert said[0] == "compute-10: off the orchestrator's list for a moment, until it asks again"
    assert {f"{name}: approved" for name in names} <= set(said)


def test_who_waits_for_approval_goes_on_waiting(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    orchestrator = there(monkeypatch, "compute-1", "compute-10")
    said: list[str] = []
    approval.approve(cluster, ["compute-1"], said.append)
    assert orchestrator.membership == {"compute-1": "APPROVED", "compute-10": "PENDING"}
    assert said[-1] == "compute-10: waits for approval, as before"


def test_approved_already_is_said_of_no_other(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    orchestrator = there(monkeypatch, "compute-1", "compute-10", approved=("compute-1",))
    said: list[str] = []
    approval.approve(cluster, ["compute-1"], said.append)
    assert (orchestrator.done, said) == ([], ["compute-1: approved"])


@pytest.mark.parametrize("away", [(), ("compute-10",)])
def test_one_with_work_is_never_taken_off_the_list(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, away: tuple[str, ...]
) -> None:
    orchestrator = there(monkeypatch, "compute-1", "compute-2", "compute-10", approved=("compute-10",), away=away)
    with pytest.raises(UsageError, match="no node was approved") as refused:
        approval.approve(cluster, ["compute-2", "compute-1"], lambda _: None)
    assert [str(fault) for fault in refused.value.faults] == [
        "compute-1: cannot be distinguished from compute-10, which is approved and may have work"
    ]
    assert "shoal nodes remove compute-10" in str(refused.value)
    assert orchestrator.done == []


def test_an_old_entry_that_is_in_no_document_is_in_nobodys_way(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("compute-1", "compute-17")
    orchestrator = there(monkeypatch, *names, approved=("compute-17",), away=("compute-17",))
    approval.approve(cluster, ["compute-1"], lambda _: None)
    assert orchestrator.membership == {"compute-1": "APPROVED"}


def test_a_machine_with_both_roles_is_approved_beside_its_orchestrator(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator = there(monkeypatch, "box", "box-orchestrator", approved=("box-orchestrator",))
    approval.approve(cluster, ["box"], lambda _: None)
    assert orchestrator.membership == {"box": "APPROVED"}


def test_one_that_does_not_come_back_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval, "BACK_TIMEOUT_S", 0.02)
    orchestrator = there(monkeypatch, "compute-1", "compute-10")
    monkeypatch.setattr(orchestrator, "back", Lost())
    with pytest.raises(ShoalError, match="not on the orchestrator's list again: compute-10"):
        approval.approve(cluster, ["compute-1"], lambda _: None)
    assert orchestrator.membership == {"compute-1": "APPROVED"}


class Lost(list[str]):
    def append(self, _: str) -> None:
        """Its machine went away in that very moment."""
