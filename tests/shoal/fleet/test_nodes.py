"""The life of nodes, as far as it needs no machine: refusals, waiting, what the list makes of what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from depot import Commands, depot
from typer.testing import CliRunner

from shoal.check import examine
from shoal.cli.nodes import app
from shoal.cli.site import app as site_app
from shoal.cluster import document as clusters
from shoal.cluster import onprem, overlay
from shoal.cluster import reach as reaches
from shoal.cluster.document import Arch, Cluster, Node
from shoal.cluster.overlay import Moved, Overlay
from shoal.cluster.reach import Reach
from shoal.deploys import run as deploys
from shoal.deploys.run import DeployResult
from shoal.engines.bacalhau import secrets
from shoal.engines.bacalhau.client import EngineSilentError
from shoal.engines.bacalhau.models import EngineNode
from shoal.engines.bacalhau.release import Binary
from shoal.engines.choice import Choice
from shoal.errors import Exit, ShoalError, UsageError
from shoal.fleet import add as fleet_add
from shoal.fleet import drain as draining
from shoal.fleet import nodes, ready
from shoal.fleet import remove as fleet_remove
from shoal.mesh import moving
from shoal.ssh import client as ssh
from tests.opened import counted


@pytest.fixture(autouse=True)
def looked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], bool, list[str]]]:
    """Stands for the look before a deploy, which needs machines: the nodes, whether for the engine, agreements."""
    seen: list[tuple[list[str], bool, list[str]]] = []

    def before(cluster: Cluster, names: Sequence[str], *, bacalhau: bool, yes_to: Sequence[str], say: Any) -> None:
        assert {node.name for node in cluster.nodes} >= set(names)
        seen.append((sorted(names), bacalhau, list(yes_to)))

    monkeypatch.setattr(examine, "before", before)
    return seen


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    monkeypatch.setattr(ready, "POLL_S", 0.01)
    monkeypatch.setattr(draining, "QUIET_S", 0.0)
    return depot()


@pytest.mark.parametrize("verb", ["drain", "remove"])
def test_the_requester_does_not_come_and_go(
    cluster: Cluster, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands(monkeypatch)
    document = tmp_path / "depot.json"
    clusters.save(cluster, document)
    with pytest.raises(UsageError, match="office is the requester"):
        if verb == "drain":
            nodes.drain(cluster, ["office"], lambda _: None, timeout_s=1)
        else:
            fleet_remove.remove(reaches.load(document), ["office"], lambda _: None, timeout_s=1, gone=False)
    assert commands.scripts == []


def test_the_last_compute_node_stays(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(monkeypatch)
    document = tmp_path / "depot.json"
    clusters.save(cluster, document)
    with pytest.raises(UsageError, match="not a valid cluster document"):
        fleet_remove.remove(reaches.load(document), ["gate-1", "gate-2"], lambda _: None, timeout_s=1, gone=False)
    assert commands.scripts == []
    assert len(clusters.load(document).compute) == 2


def test_a_machine_that_is_no_more_is_only_forgotten(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands(monkeypatch)
    document = tmp_path / "depot.json"
    clusters.save(cluster, document)
    rest = fleet_remove.remove(reaches.load(document), ["gate-2"], lambda _: None, timeout_s=1, gone=True)
    assert [node.name for node in rest.compute] == ["gate-1"]
    assert clusters.load(document) == rest
    assert commands.scripts == []


@pytest.fixture
def on_mesh(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """A document whose nodes have moved onto the mesh, and what is done with it, in order."""
    cluster = cluster.model_copy(update={"mesh": "tailscale"})
    document, done = tmp_path / "depot.json", []
    clusters.save(cluster, document)
    moved = {
        node.name: Moved(first_address=node.address, address=f"100.64.0.{n}", peer_address=f"100.64.0.{n}")
        for n, node in enumerate(cluster.nodes, start=1)
    }
    overlay.save(Overlay(cluster="depot", services=True, nodes=moved))

    def run(cluster: Cluster, node: Any, *command: str, **more: Any) -> ssh.Completed:
        done.append(f"ssh {node.address}")
        return ssh.Completed(0, b"", "")

    def off(reach: Reach, *, only: list[str], **more: Any) -> moving.Move:
        done.append(f"off {' '.join(only)}")
        overlay.forget("depot", only)
        return moving.Move((), services=False, reach=reaches.load(reach.path))

    def on(reach: Reach, *, only: list[str], **more: Any) -> moving.Move:
        done.append(f"on {' '.join(only)}")
        return moving.Move((), services=True)

    monkeypatch.setattr(ssh, "run", run)
    monkeypatch.setattr(draining, "_look_at_work", lambda *_: draining._Work({}, possible=False))
    with_programs(monkeypatch)
    monkeypatch.setattr(moving, "off", off)
    monkeypatch.setattr(moving, "on", on)

    class Result:
        changed = 0

    def run_deploy(path: Path, name: str, *, limit: list[str], **more: Any) -> type[Result]:
        done.append(f"{name} {' '.join(limit)}")
        return Result

    monkeypatch.setattr(deploys, "run_deploy", run_deploy)
    return document, done


def test_a_node_on_the_mesh_is_drained_over_it_and_removed_by_its_first_address(
    on_mesh: tuple[Path, list[str]],
) -> None:
    document, done = on_mesh
    fleet_remove.remove(reaches.load(document), ["gate-2"], lambda _: None, timeout_s=1, gone=False)
    # Marked and stopped over the mesh; who logs it out of the mesh must not come over it.
    assert done == ["ssh 100.64.0.3", "ssh 100.64.0.3", "off gate-2", "teardown gate-2", "ssh 192.0.2.22"]
    note = overlay.load("depot")
    assert note is not None
    assert set(note.nodes) == {"office", "gate-1"}


def test_a_node_that_comes_to_a_cluster_on_the_mesh_joins_first(on_mesh: tuple[Path, list[str]]) -> None:
    document, done = on_mesh
    machine = {"name": "gate-3", "roles": ["compute"], "address": "192.0.2.23"}
    fleet_add.add(reaches.load(document), "gate-3", machine, lambda _: None)
    assert done == ["on gate-3", "ssh 192.0.2.23", "site gate-3"]


def test_a_machine_of_the_mesh_that_is_no_more_is_forgotten_there_too(on_mesh: tuple[Path, list[str]]) -> None:
    document, done = on_mesh
    fleet_remove.remove(reaches.load(document), ["gate-1"], lambda _: None, timeout_s=1, gone=True)
    assert done == []
    note = overlay.load("depot")
    assert note is not None
    assert "gate-1" not in note.nodes


def test_the_list_without_an_engine(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    Commands(monkeypatch)
    found = {node.name: node for node in nodes.look(cluster)}
    assert found["gate-1"].ssh == "answers"
    assert "there are no tokens for it" in found["gate-1"].engine


def test_what_the_engine_says_of_a_node() -> None:
    raw = {
        "Info": {"NodeID": "gate-1", "NodeType": "Compute"},
        "Membership": "PENDING",
        "ConnectionState": {"Status": "CONNECTED"},
    }
    assert nodes._engine_word(EngineNode.model_validate(raw)) == "pending"
    assert nodes._engine_word(EngineNode.model_validate({**raw, "Membership": "APPROVED"})) == "connected"


def test_a_new_machine_is_checked_like_the_document(cluster: Cluster, tmp_path: Path) -> None:
    document = tmp_path / "depot.json"
    clusters.save(cluster, document)
    words = ["add", "gate-3=ops@10.0.0.3", "--label", "Site=x y", "--arch", "mips", "--cluster", str(document)]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, UsageError)
    assert {fault.where for fault in done.exception.faults} == {"nodes[3].arch", "nodes[3].labels.Site"}
    assert len(clusters.load(document).nodes) == 3


class Orchestrator:
    """Answers with each list of nodes in turn, the last one for ever."""

    def __init__(self, *answers: list[EngineNode]) -> None:
        self.answers = list(answers)

    def __enter__(self) -> Orchestrator:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def nodes(self) -> list[EngineNode]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def seen(name: str, status: str, error: str = "") -> EngineNode:
    info = {"NodeID": name, "NodeType": "Compute"}
    info["ComputeNodeInfo"] = {"ExecutionEngines": ["docker"], "StorageSources": ["local"]}
    state = {"Status": status, "LastError": error}
    return EngineNode.model_validate({"Info": info, "Membership": "APPROVED", "ConnectionState": state})


def test_readiness_is_the_orchestrators_word(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.run.preflight.is_drained", lambda _, node: node.name == "gate-2")
    away, there = seen("gate-1", "DISCONNECTED"), seen("gate-1", "CONNECTED")
    monkeypatch.setattr("shoal.engines.bacalhau.connect.client_for", lambda _: Orchestrator([], [away], [there]))
    said: list[str] = []
    ready.await_ready(cluster, ["gate-1", "gate-2", "office"], said.append)
    assert said == ["gate-1: connected, approved, Docker and local paths there"]


def test_readiness_waits_for_an_orchestrator_that_is_silent(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.run.preflight.is_drained", lambda *_: False)

    class Client(Orchestrator):
        def nodes(self) -> list[EngineNode]:
            found = super().nodes()
            if not found:
                raise EngineSilentError("the orchestrator is not ready (test)")
            return found

    monkeypatch.setattr(
        "shoal.engines.bacalhau.connect.client_for", lambda _: Client([], [seen("gate-1", "CONNECTED")])
    )
    said: list[str] = []
    ready.await_ready(cluster, ["gate-1"], said.append)
    assert said == ["gate-1: connected, approved, Docker and local paths there"]
    monkeypatch.setattr("shoal.engines.bacalhau.connect.client_for", lambda _: Client([]))
    monkeypatch.setattr(ready, "READY_TIMEOUT_S", 0.05)
    with pytest.raises(ShoalError, match=r"the orchestrator is not ready \(test\)"):
        ready.await_ready(cluster, ["gate-1"], lambda _: None)


def test_a_node_that_is_not_heard_fails_by_name(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.run.preflight.is_drained", lambda *_: False)
    monkeypatch.setattr(ready, "READY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(
        "shoal.engines.bacalhau.connect.client_for", lambda _: Orchestrator([seen("gate-1", "DISCONNECTED")])
    )
    with pytest.raises(ShoalError, match="gate-1 is deployed, and the orchestrator would give it no job") as error:
        ready.await_ready(cluster, ["gate-1"], lambda _: None)
    assert "does not hear it" in error.value.message


def deploying(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: Sequence[str], *more: str
) -> tuple[Any, list[Any]]:
    """How `site deploy` ended, and what it did: the deploy, and of which nodes the orchestrator was asked."""
    document = tmp_path / "depot.json"
    clusters.save(cluster, document)
    hosts = {"gate-1": ("gate-1",), "requester": ("office",)}.get("".join(limit), ("gate-1", "gate-2", "office"))
    done: list[Any] = []

    def run_deploy(*_: Any, **__: Any) -> DeployResult:
        done.append("deploy")
        return DeployResult("site", hosts, 0, 0, (), 0.0)

    monkeypatch.setattr("shoal.cli.site.run_deploy", run_deploy)
    monkeypatch.setattr("shoal.cli.site.engines.choose", lambda *_, **__: Choice("bacalhau", "test", (program(),)))
    monkeypatch.setattr("shoal.cli.site.ready.await_ready", lambda _, names, __: done.append(names))
    words = ["deploy", "--cluster", str(document), *(word for name in limit for word in ("--limit", name)), *more]
    return CliRunner().invoke(site_app, words), done


def program(version: str = "1.9.3", arch: Arch = "amd64") -> Binary:
    now = datetime.now(UTC)
    return Binary(version=version, arch=arch, sha256="0" * 64, size_bytes=1, origin="given", added_at=now)


@pytest.mark.parametrize(
    ("limit", "asked"), [([], ("gate-1", "gate-2", "office")), (["gate-1"], ("gate-1",)), (["requester"], ("office",))]
)
def test_every_deploy_asks_the_orchestrator_about_its_nodes(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: list[str], asked: tuple[str, ...]
) -> None:
    ended, done = deploying(cluster, tmp_path, monkeypatch, limit)
    assert ended.exit_code == 0, ended.output
    assert done == ["deploy", asked]
    ended, done = deploying(cluster, tmp_path, monkeypatch, limit, "--dry")
    assert done == ["deploy"]


def test_who_waits_for_approval_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.run.preflight.is_drained", lambda *_: False)
    waiting = seen("gate-2", "CONNECTED").model_copy(update={"membership": "PENDING"})
    monkeypatch.setattr(
        "shoal.engines.bacalhau.connect.client_for", lambda _: Orchestrator([seen("gate-1", "CONNECTED"), waiting])
    )
    said: list[str] = []
    ready.await_ready(cluster, ["gate-1", "gate-2", "office"], said.append)
    assert said[-1] == "gate-2: it is pending, not approved; `shoal nodes approve gate-2` lets it take jobs"


class Versioned(Orchestrator):
    """Says this version; none: it does not answer."""

    def __init__(self, version: str | None) -> None:
        super().__init__([])
        self.says = version

    def version(self) -> str:
        if self.says is None:
            raise EngineSilentError("the orchestrator does not answer (test)")
        return self.says


@pytest.mark.parametrize(
    ("theirs", "limit", "refused"),
    [
        ("v1.9.2", ["gate-1"], True),
        ("v1.8.10", ["gate-1"], True),
        ("v1.9.2", ["gate-1", "gate-2"], True),
        ("v1.9.2", [], False),
        ("v1.9.3", ["gate-1"], False),
        ("v1.9.10", ["gate-1"], False),
        ("v0.0.0-xxxxxxx", ["gate-1"], False),
        (None, ["gate-1"], False),
    ],
)
def test_a_node_is_not_made_newer_than_its_orchestrator(
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    theirs: str | None,
    limit: list[str],
    refused: bool,
) -> None:
    secrets.ensure("depot")
    monkeypatch.setattr("shoal.engines.bacalhau.connect.client_for", lambda _: Versioned(theirs))
    ended, done = deploying(cluster, tmp_path, monkeypatch, limit)
    assert isinstance(ended.exception, UsageError) == refused, ended.exception
    assert ("deploy" in done) != refused
    if refused:
        assert "1.9.3" in str(ended.exception)
        assert str(theirs).removeprefix("v") in str(ended.exception)
        assert "`shoal site deploy`" in str(ended.exception)


@pytest.fixture
def adding(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """A document, and what is done to a node that is added, in order."""
    document, done = tmp_path / "depot.json", []
    clusters.save(cluster, document)

    def run(_: Cluster, node: Node, *command: str, **more: Any) -> ssh.Completed:
        done.append(f"{node.name}: {' '.join(command)}")
        return ssh.Completed(0, b"", "")

    def run_deploy(reach: Reach, name: str, *, limit: list[str], engine: Choice, **more: Any) -> DeployResult:
        done.append(f"{name} {' '.join(limit)} {' '.join(one.arch for one in engine.binaries)}".rstrip())
        return DeployResult(name, tuple(limit), 0, 0, (), 0.0)

    monkeypatch.setattr(ssh, "run", run)
    monkeypatch.setattr(deploys, "run_deploy", run_deploy)
    monkeypatch.setattr(ready, "await_ready", lambda _, names, __: done.append(f"ready {' '.join(names)}"))
    return document, done


UNMARKED = "rm -f /var/lib/shoal/drained"


def with_programs(monkeypatch: pytest.MonkeyPatch, *archs: Arch) -> None:
    def resolve(arch: Arch, **_: Any) -> Binary:
        if arch not in archs:
            raise ShoalError(f"Bacalhau 1.9.3 for {arch} cannot be had", exit_code=Exit.MISSING)
        return program(arch=arch)

    monkeypatch.setattr("shoal.engines.choice.release.resolve", resolve)


def test_a_node_does_not_come_in_without_the_clusters_engine(
    adding: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    document, done = adding
    secrets.ensure("depot")
    monkeypatch.setattr("shoal.engines.bacalhau.connect.client_for", lambda _: Versioned("v1.9.3"))
    with_programs(monkeypatch, "amd64")
    before = document.read_bytes()
    machine = {"name": "gate-3", "roles": ["compute"], "address": "192.0.2.23", "arch": "arm64"}
    with pytest.raises(ShoalError, match="gate-3 is arm64") as refused:
        fleet_add.add(reaches.load(document), "gate-3", machine, lambda _: None)
    assert refused.value.exit_code is Exit.MISSING
    assert "shoal artifacts add bacalhau PATH" in str(refused.value)
    assert (document.read_bytes(), done) == (before, [])
    with_programs(monkeypatch, "arm64")  # of the others' architecture nothing is placed
    fleet_add.add(reaches.load(document), "gate-3", machine, lambda _: None)
    assert done == [f"gate-3: {UNMARKED}", "site gate-3 arm64", "ready gate-3"]


def test_a_node_of_a_cluster_without_the_engine_needs_none(
    adding: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    document, done = adding
    with_programs(monkeypatch)
    fleet_add.add(reaches.load(document), "gate-1", None, lambda _: None)
    assert done == [f"gate-1: {UNMARKED}", "site gate-1"]


@pytest.mark.parametrize(
    ("node", "form", "reads"),
    [
        ("gate-1", "json", 1),
        ("gate-3=192.0.2.23", "json", 1),
        ("gate-1", "toml", 1),
        ("gate-3=192.0.2.23", "toml", 2),  # once more for its text, which is edited and keeps its comments
    ],
)
def test_the_document_is_read_once(
    adding: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, node: str, form: str, reads: int
) -> None:
    """At the door; what was read travels as a value, into pyinfra's process too (test_inventory.py)."""
    document, done = adding
    cluster = clusters.load(document).model_copy(update={"mesh": "tailscale"})
    if form == "toml":
        document = document.with_suffix(".toml")
        cluster = cluster.model_copy(update={"substrate": "onprem"})
        document.write_text(onprem.render(cluster))
    else:
        clusters.save(cluster, document)
    with_programs(monkeypatch)
    with counted(document) as read:
        ended = CliRunner().invoke(app, ["add", node, "--cluster", str(document)])
    assert ended.exit_code == 0, ended.output
    assert done[-1] == f"site {node.partition('=')[0]}"
    assert read == [reads]


def test_a_node_is_looked_at_before_the_document_is_touched(
    adding: tuple[Path, list[str]], looked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    document, done = adding
    with_programs(monkeypatch)
    ended = CliRunner().invoke(app, ["add", "gate-1", "--yes-to", "docker-restart", "--cluster", str(document)])
    assert ended.exit_code == 0, ended.output
    assert looked == [(["gate-1"], False, ["docker-restart"])]
    done.clear()
    before = document.read_bytes()

    def refuse(*_: Any, **__: Any) -> None:
        raise UsageError("2 things are in the way; nothing was changed")

    monkeypatch.setattr(examine, "before", refuse)
    machine = {"name": "gate-3", "roles": ["compute"], "address": "192.0.2.23"}
    with pytest.raises(UsageError, match="in the way"):
        fleet_add.add(reaches.load(document), "gate-3", machine, lambda _: None)
    assert (document.read_bytes(), done) == (before, [])
    wrong = CliRunner().invoke(app, ["add", "gate-1", "--yes-to", "nonsense", "--cluster", str(document)])
    assert isinstance(wrong.exception, UsageError)
    assert "docker-restart" in str(wrong.exception)


def test_a_node_that_would_be_newer_than_the_orchestrator_does_not_come_in(
    adding: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    document, done = adding
    secrets.ensure("depot")
    monkeypatch.setattr("shoal.engines.bacalhau.connect.client_for", lambda _: Versioned("v1.9.2"))
    with_programs(monkeypatch, "amd64")
    before = document.read_bytes()
    with pytest.raises(UsageError, match=r"1\.9\.3, the orchestrator on office is 1\.9\.2"):
        machine = {"name": "gate-3", "roles": ["compute"], "address": "192.0.2.23"}
        fleet_add.add(reaches.load(document), "gate-3", machine, lambda _: None)
    assert (document.read_bytes(), done) == (before, [])


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        (["gate-1=192.0.2.21"], []),
        (["gate-1=192.0.2.99"], ["address: 192.0.2.21 in the document, 192.0.2.99 given"]),
        (["gate-1=ops@192.0.2.21:23"], ["port: 22 in the document, 23 given", "user: root in the document, ops given"]),
        (["gate-1=192.0.2.21", "--arch", "arm64"], ["arch: amd64 in the document, arm64 given"]),
        (["gate-1=192.0.2.21", "--label", "site=x"], ["labels: none in the document, site=x given"]),
        (["gate-1=192.0.2.21", "--arch", "mips"], ["arch: input should be 'amd64' or 'arm64' (found 'mips')"]),
    ],
)
def test_a_name_that_is_there_is_not_given_to_another_machine(
    adding: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, words: list[str], faults: list[str]
) -> None:
    document, done = adding
    with_programs(monkeypatch)
    before = document.read_bytes()
    ended = CliRunner().invoke(app, ["add", *words, "--cluster", str(document)])
    assert document.read_bytes() == before
    if faults:
        assert isinstance(ended.exception, UsageError)
        assert [str(fault) for fault in ended.exception.faults] == faults
        assert done == []
    else:
        assert ended.exit_code == 0, ended.output
        assert done == [f"gate-1: {UNMARKED}", "site gate-1"]  # as typed a second time


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([{"ssh": "no answer in time"}, {"ssh": "no answer in time"}], 3),
        ([{"ssh": "answers"}, {"ssh": "no answer in time"}], 3),
        ([{"engine": "there are no tokens for it"}, {"engine": "there are no tokens for it"}], 0),
        ([{"version": "1.9.3"}, {"engine": "disconnected"}], 3),
        ([{"version": "1.9.3"}, {"engine": "disconnected", "drained": True}], 0),
        ([{"version": "1.9.3"}, {"docker_fault": "it does not answer"}], 3),
        ([{"docker_fault": "it does not answer", "drained": True}, {}], 0),
        ([{"version": "1.9.3"}, {"roles": (), "ssh": "is not in the document", "engine": "disconnected"}], 0),
        ([{}, {"roles": (), "ssh": "is not in the cluster document", "engine": "connected"}], 3),
    ],
)
def test_the_list_ends_with_3_where_a_node_is_lacking(
    adding: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, states: list[dict[str, Any]], code: int
) -> None:
    usual = {"roles": ("compute",), "address": "192.0.2.21", "ssh": "answers", "engine": "connected"}
    found = [nodes.NodeState(**{"name": f"gate-{n}", **usual, **state}) for n, state in enumerate(states, start=1)]
    monkeypatch.setattr(nodes, "look", lambda _: found)
    ended = CliRunner().invoke(app, ["list", "--json", "--cluster", str(adding[0])])
    assert ended.exit_code == code, ended.output
