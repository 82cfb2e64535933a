"""Nodes that are drained: what counts as at rest, who is asked again, and what is told at the deadline."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from depot import Commands, depot

from shoal.cluster.document import Cluster, Node
from shoal.engines.bacalhau import secrets
from shoal.engines.bacalhau.client import EngineSilentError
from shoal.errors import ShoalError
from shoal.fleet import drain as draining
from shoal.fleet import nodes
from shoal.ssh import client as ssh


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    monkeypatch.setattr(draining, "POLL_S", 0.01)
    monkeypatch.setattr(draining, "QUIET_S", 0.0)
    return depot()


DEAF = "docker-fault Cannot connect to the Docker daemon"


def test_drain_marks_waits_and_then_stops(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(monkeypatch)
    busy = iter([{"gate-1": ["shoal-r1-a1"]}, {"gate-1": ["shoal-r1-a1"]}, {}])
    monkeypatch.setattr(draining, "_look_at_work", lambda *_: draining._Work(next(busy), possible=True))
    said: list[str] = []
    nodes.drain(cluster, ["gate-1"], said.append, timeout_s=5)
    assert said == ["no new run for gate-1", "gate-1: waiting for shoal-r1-a1", "drained: gate-1"]
    (_, mark), (_, stop) = commands.scripts
    assert "date" in mark
    assert "systemctl disable --now" in stop


def test_drain_that_takes_too_long_stops_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(monkeypatch)
    work = draining._Work({"gate-1": ["shoal-r1-a1"]}, possible=True)
    monkeypatch.setattr(draining, "_look_at_work", lambda *_: work)
    with pytest.raises(ShoalError, match="still at work") as error:
        nodes.drain(cluster, ["gate-1"], lambda _: None, timeout_s=0.05)
    assert error.value.faults[0].where == "gate-1"
    assert not any("systemctl" in script for _, script in commands.scripts)


class Looks:
    """What the machine says at each look in turn, the last for ever: lines, or why it gives no answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: str | ssh.SshFailure) -> None:
        self.answers = list(answers)
        self.scripts: list[str] = []
        monkeypatch.setattr(ssh, "run", self.run)

    def run(self, cluster: Cluster, node: Node, *command: str, **more: Any) -> ssh.Completed:
        self.scripts.append(command[2])
        if command[3:4] != ("look",):
            return ssh.Completed(0, b"", "")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ssh.SshFailure):
            raise ssh.SshError(node, answer, "")
        return ssh.Completed(0, answer.encode(), "")

    @property
    def stopped(self) -> bool:
        return any("systemctl disable" in script for script in self.scripts)


def test_a_blip_does_not_end_a_drain(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, "container 1", ssh.SshFailure.TIMED_OUT, DEAF, "container 1", "")
    said: list[str] = []
    nodes.drain(cluster, ["gate-1"], said.append, timeout_s=5)
    assert said[1:] == [
        "gate-1: waiting for 1 container",
        "gate-1: waiting for an answer (no answer in time)",
        "gate-1: waiting for Docker there (Cannot connect to the Docker daemon)",
        "gate-1: waiting for 1 container",
        "drained: gate-1",
    ]
    assert looks.stopped


def test_a_silent_orchestrator_is_asked_again(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(monkeypatch, "")
    secrets.ensure("depot")
    silent = [True, False]

    class Client:
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

        def live_jobs(self) -> list[Any]:
            if silent.pop(0):
                raise EngineSilentError("the orchestrator does not answer (test)")
            return []

    monkeypatch.setattr("shoal.engines.bacalhau.connect.client_for", lambda _: Client())
    said: list[str] = []
    nodes.drain(cluster, ["gate-1"], said.append, timeout_s=5)
    assert said[1:] == [
        "gate-1: waiting for an answer (the orchestrator does not answer (test))",
        "drained: gate-1",
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        (ssh.SshFailure.TIMED_OUT, ShoalError, "an answer (no answer in time)"),
        (DEAF, draining.StillAtWorkError, "Docker there (Cannot connect to the Docker daemon)"),
        ("docker-fault ", draining.StillAtWorkError, "Docker there (it does not answer)"),
    ],
)
def test_at_the_deadline_a_drain_says_who_did_not_answer(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, answer: str | ssh.SshFailure, kind: type[ShoalError], why: str
) -> None:
    looks = Looks(monkeypatch, answer)
    with pytest.raises(ShoalError) as ended:
        nodes.drain(cluster, ["gate-1"], lambda _: None, timeout_s=0.05)
    assert type(ended.value) is kind
    assert [str(fault) for fault in ended.value.faults] == [f"gate-1: {why}"]
    assert not looks.stopped


def test_what_does_not_mend_itself_ends_a_drain_at_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(monkeypatch, ssh.SshFailure.HOST_KEY_CHANGED)
    with pytest.raises(ssh.SshError, match="host key"):
        nodes.drain(cluster, ["gate-1"], lambda _: None, timeout_s=3600)


def test_a_run_that_asked_before_the_mark_is_seen_before_the_service_stops(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "QUIET_S", 0.05)
    looks = Looks(monkeypatch, "", "container 1", "")
    said: list[str] = []
    begun = time.monotonic()
    nodes.drain(cluster, ["gate-1"], said.append, timeout_s=5)
    assert "gate-1: waiting for 1 container" in said
    assert looks.stopped
    assert time.monotonic() - begun >= 0.05


def machine(tmp_path: Path, docker: str | None) -> dict[str, str]:
    """The environment of a machine that has these programs, a `docker` of these lines among them, and no others."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "sort", "sed", "tail", "timeout"):
        (programs / name).symlink_to(str(shutil.which(name)))
    (programs / "systemctl").symlink_to(str(shutil.which("false")))
    if docker is not None:
        (programs / "docker").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n{docker}\n')
        (programs / "docker").chmod(0o755)
    return {"PATH": str(programs)}


@pytest.mark.parametrize(
    ("docker", "lines"),
    [
        (None, []),
        ("true", []),
        ('case "$*" in *executor*) echo a;; *) echo b; echo a;; esac', ["container a", "container b"]),
        ("echo a; echo 'WARNING: so it goes' >&2", ["container a"]),
        ("echo 'Cannot connect' >&2; exit 1", ["docker-fault Cannot connect"]),
        ('case "$*" in *executor*) echo a;; *) echo lost >&2; exit 1;; esac', ["docker-fault lost"]),
        ("exit 1", ["docker-fault "]),
    ],
)
def test_docker_that_does_not_answer_is_not_docker_with_nothing_to_do(
    tmp_path: Path, docker: str | None, lines: list[str]
) -> None:
    command = ["/bin/sh", "-c", draining._LOOK, "look", str(tmp_path / "mark"), "gate-1"]
    done = subprocess.run(command, env=machine(tmp_path, docker), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == lines


@pytest.mark.parametrize(
    ("docker", "code", "stopped"),
    [
        (None, 0, False),
        ("true", 0, False),
        ('[ "$1" = stop ] || echo a', 0, True),
        ('[ "$1" != stop ] || exit 1; echo a', 0, True),
        ("echo 'Cannot connect' >&2; exit 1", 1, False),
    ],
)
def test_containers_that_cannot_be_seen_are_not_said_to_be_stopped(
    tmp_path: Path, docker: str | None, code: int, stopped: bool
) -> None:
    command = ["/bin/sh", "-c", draining._STOP, "stop", "-", "gate-1"]
    done = subprocess.run(command, env=machine(tmp_path, docker), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines() if docker is not None else []
    assert ("stop -t 30 a" in calls) == stopped


def test_the_list_shows_a_node_whose_docker_does_not_answer(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(monkeypatch, DEAF)
    found = {node.name: node for node in nodes.look(cluster)}
    assert (found["gate-1"].ssh, found["gate-1"].containers) == ("answers", 0)
    assert found["gate-1"].docker_fault == "Cannot connect to the Docker daemon"
