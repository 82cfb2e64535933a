"""New secrets for a cluster: refused where something would be left behind, put back where none were handed out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from depot import Commands, depot

from shoal.cluster import document as clusters
from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster
from shoal.deploys.run import DeployResult
from shoal.engines.bacalhau import connect, secrets
from shoal.engines.bacalhau.client import EngineError, EngineSilentError
from shoal.errors import ShoalError, UsageError
from shoal.fleet import ready, rotate


class Orchestrator:
    """Takes `key` and no other; `jobs` are live."""

    def __init__(self, key: str, jobs: Sequence[str] = ()) -> None:
        self.key, self.jobs, self.silent = key, jobs, False

    def client_for(self, cluster: Cluster) -> Any:
        orchestrator = self

        class Client:
            def __enter__(self) -> Client:
                return self

            def __exit__(self, *exception: object) -> None:
                pass

            def nodes(self) -> list[Any]:
                tokens = secrets.load(cluster.name)
                assert tokens is not None
                if orchestrator.silent:
                    raise EngineSilentError("nobody answers")
                if tokens.control_key.get_secret_value() != orchestrator.key:
                    raise EngineError("refused", status=401)
                return []

            def live_jobs(self) -> list[Any]:
                self.nodes()
                return [SimpleNamespace(name=name) for name in orchestrator.jobs]

        return Client()


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(ready, "await_ready", lambda *_: None)
    Commands(monkeypatch)
    path = tmp_path / "depot.json"
    clusters.save(depot(), path)
    return path


@pytest.fixture
def before(document: Path) -> secrets.Tokens:
    return secrets.ensure_tls("depot", ["192.0.2.10"])[0]


@pytest.fixture
def orchestrator(before: secrets.Tokens, monkeypatch: pytest.MonkeyPatch) -> Orchestrator:
    found = Orchestrator(before.control_key.get_secret_value())
    monkeypatch.setattr(connect, "client_for", found.client_for)
    return found


def deploys(monkeypatch: pytest.MonkeyPatch, error: ShoalError | None = None) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    def run(path: Path, what: str, *, data: dict[str, Any], say: Any) -> DeployResult:
        asked.append(data)
        if error:
            raise error
        return DeployResult(what, ("office",), 1, 0, (), 1.0)

    monkeypatch.setattr(rotate, "run_deploy", run)
    return asked


def test_all_is_made_anew_and_handed_out(document, before, orchestrator, monkeypatch):
    asked = deploys(monkeypatch)
    rotate.rotate(reaches.load(document), {"bacalhau_programs": {}}, lambda _: None)
    assert asked == [{"bacalhau_programs": {}, "bacalhau_force": False}]
    after = secrets.load("depot")
    assert after is not None
    assert after.control_key != before.control_key
    assert after.tls is None  # the deploy makes new certificates


def test_nothing_is_changed_while_jobs_run(document, before, orchestrator, monkeypatch):
    asked = deploys(monkeypatch)
    orchestrator.jobs = ("shoal-r1-a1",)
    with pytest.raises(UsageError, match="nothing was changed") as caught:
        rotate.rotate(reaches.load(document), {}, lambda _: None)
    assert [fault.where for fault in caught.value.faults] == ["shoal-r1-a1"]
    assert secrets.load("depot") == before
    assert asked == []
    rotate.rotate(reaches.load(document), {}, lambda _: None, force=True)
    assert asked == [{"bacalhau_force": True}]


def test_without_secrets_there_is_nothing_to_rotate(document, monkeypatch):
    with pytest.raises(UsageError, match="nothing to rotate"):
        rotate.rotate(reaches.load(document), {}, lambda _: None)


@pytest.mark.parametrize("fate", ["not begun", "handed out", "silent"])
def test_a_deploy_that_fails_leaves_the_secrets_that_are_in_force(document, before, orchestrator, monkeypatch, fate):
    deploys(monkeypatch, ShoalError("the deploy failed"))
    made = {}
    original = secrets.rotate

    def rotated(cluster: str) -> Any:
        found = original(cluster)
        made["after"] = secrets.load(cluster)
        if fate == "handed out":
            orchestrator.key = made["after"].control_key.get_secret_value()
        orchestrator.silent = fate == "silent"
        return found

    monkeypatch.setattr(secrets, "rotate", rotated)
    told: list[str] = []
    with pytest.raises(ShoalError, match="the deploy failed"):
        rotate.rotate(reaches.load(document), {}, told.append)
    assert secrets.load("depot") == (before if fate == "not begun" else made["after"])
    assert bool(told) is (fate == "not begun")
