"""Automatic attempts: a node that is away is waited for, one that stays away is named, the pause doubles."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_nodes import FakeNodes, deadline

from shoal.cluster.document import Cluster, Node
from shoal.engines.bacalhau.client import EngineSilentError
from shoal.engines.protocol import Handle
from shoal.engines.ssh import SshRunner
from shoal.errors import Exit, ShoalError, UsageError
from shoal.jobs.spec import JobSpec
from shoal.results import record as runs
from shoal.results.record import Outcome
from shoal.run import preflight
from shoal.run import reattempt as healing
from shoal.run import start as running
from shoal.run.carry_out import exit_code
from shoal.run.resume import resume
from shoal.run.work import Event, Happening
from shoal.ssh.client import SshError
from shoal.ssh.failures import SshFailure


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    monkeypatch.setattr(healing, "ATTEMPT_PAUSE_S", 0.05)
    monkeypatch.setattr(healing, "BACK_POLL_S", 0.05)
    fakes = FakeNodes.make(tmp_path, monkeypatch)
    fakes.video("c1", "a.mp4")
    fakes.video("c2", "b.mp4")
    return fakes


def drain(nodes: FakeNodes, name: str) -> None:
    nodes.path(name, "/var/lib/shoal/drained").write_text("2026-11-25T09:00:00Z")


def test_a_node_that_comes_back_is_given_the_run(nodes: FakeNodes) -> None:
    nodes.down("c2")

    def tell(event: Event) -> None:
        nodes.tell(event)
        if event.text.startswith("waiting for it: "):
            nodes.up("c2")

    record = running.start(nodes.order(attempts=2), tell)
    assert record.complete
    told = [event.text for event in nodes.events if event.node == "c2"]
    assert any(text.startswith("waiting for it: ") for text in told)
    assert "is back" in told
    assert [attempt.outcome for attempt in record.nodes["c2"].attempts] == [Outcome.UNREACHABLE, Outcome.FINISHED]
    assert len(record.nodes["c1"].attempts) == 1


def test_a_node_that_stays_away_ends_the_run(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "BACK_TIMEOUT_S", 0.2)
    nodes.down("c2")
    record = running.start(nodes.order(attempts=3), nodes.tell)
    assert exit_code(record) is Exit.INCOMPLETE
    # One attempt after the wait, which says why; not another wait before each of those that were left.
    assert [attempt.outcome for attempt in record.nodes["c2"].attempts] == [Outcome.UNREACHABLE] * 2
    assert [event.node for event in nodes.events if event.text.startswith("waiting for it: ")] == ["c2"]


def test_an_engine_has_its_own_number_of_attempts(nodes: FakeNodes) -> None:
    nodes.down("c2")
    record = running.start(nodes.order(), nodes.tell)
    assert len(record.nodes["c2"].attempts) == 1  # over ssh a failure is a failure
    assert healing.DEFAULT_ATTEMPTS["bacalhau"] > 1


def test_a_node_does_not_wait_for_the_others(nodes: FakeNodes) -> None:
    """c1 fails, is given the run again and is home before c2, whose video waits for just that, has ended once."""
    nodes.video("c1", "a.mp4", "exit 1")
    waits = nodes.video("c2", "b.mp4", "wait")

    def tell(event: Event) -> None:
        nodes.tell(event)
        if event.kind is Happening.FETCHED and event.node == "c1":
            waits.with_suffix(".go").touch()

    with deadline(30, "c1 waited for c2"):
        record = running.start(nodes.order(attempts=2), tell)
    assert record.complete
    assert [attempt.number for attempt in record.nodes["c1"].attempts] == [1, 2]
    assert [attempt.number for attempt in record.nodes["c2"].attempts] == [1]


def test_attempts_of_two_nodes_have_numbers_of_their_own(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "exit 1")
    nodes.video("c2", "b.mp4", "exit 1")
    record = running.start(nodes.order(attempts=2), nodes.tell)
    assert record.complete
    later = {name: [attempt.number for attempt in node.attempts][1:] for name, node in record.nodes.items()}
    assert sorted(number for numbers in later.values() for number in numbers) == [2, 3]


class SlowRelease(SshRunner):
    """A node that takes its time to remove an ended container."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.adopted: list[Handle] = []

    def release(self, handle: Handle, node: str) -> None:
        time.sleep(1)  # the removal's own time; an attempt that does not wait for it would find the container
        super().release(handle, node)

    def adopt(self, run: str, nodes: Sequence[str]) -> list[Handle]:
        found = super().adopt(run, nodes)
        self.adopted += found
        return found


def test_the_next_attempt_never_adopts_the_container_that_just_ended(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "exit 1")
    runner = SlowRelease(nodes.cluster)
    record = running.start(nodes.order(attempts=2), nodes.tell, runner=runner)
    assert record.complete
    assert runner.adopted == []
    assert [attempt.number for attempt in record.nodes["c1"].attempts] == [1, 2]


class NeverAgain(SshRunner):
    """Refuses every attempt but the first, as an orchestrator does that is gone."""

    def submit(self, job: JobSpec, *, run: str, attempt: int, nodes: Sequence[str]) -> Handle:
        if attempt > 1:
            raise ShoalError("nobody answers")
        return super().submit(job, run=run, attempt=attempt, nodes=nodes)


def test_an_attempt_that_cannot_be_begun_hinders_no_other_node(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "exit 1")
    record = running.start(nodes.order(attempts=3), nodes.tell, runner=NeverAgain(nodes.cluster))
    assert record.nodes["c2"].outcome is Outcome.FINISHED
    assert record.nodes["c1"].outcome is Outcome.UNREACHABLE
    assert "could not be given the run again: nobody answers" in record.nodes["c1"].attempts[-1].message
    assert exit_code(record) is Exit.INCOMPLETE


class OnceSilent(SshRunner):
    """Its engine cannot be asked just when the node's second attempt is to begin."""

    def __init__(self, cluster: Cluster, error: Exception, method: str) -> None:
        super().__init__(cluster)
        self.error, self.method = [error], method

    def adopt(self, run: str, nodes: Sequence[str]) -> list[Handle]:
        if self.method == "adopt" and self.error:
            raise self.error.pop()
        return super().adopt(run, nodes)

    def submit(self, job: JobSpec, *, run: str, attempt: int, nodes: Sequence[str]) -> Handle:
        if self.method == "submit" and attempt > 1 and self.error:
            raise self.error.pop()
        return super().submit(job, run=run, attempt=attempt, nodes=nodes)


GATE = Node(name="gate", roles=("requester",), address="192.0.2.1")
PASSING = [
    EngineSilentError("the orchestrator does not answer"),
    SshError(GATE, SshFailure.TIMED_OUT, ""),
    OSError(24, "Too many open files"),
]


@pytest.mark.parametrize(("error", "method"), [*((error, "adopt") for error in PASSING), (PASSING[0], "submit")])
def test_a_blip_costs_an_attempt_and_not_all_of_them(nodes: FakeNodes, error: Exception, method: str) -> None:
    nodes.video("c1", "a.mp4", "exit 1")
    record = running.start(nodes.order(attempts=3), nodes.tell, runner=OnceSilent(nodes.cluster, error, method))
    assert record.complete, nodes.told()
    assert "could not be given the run again" in nodes.told()


def test_attempts_that_cannot_be_begun_are_bounded_too(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "exit 1")
    runner = OnceSilent(nodes.cluster, PASSING[0], "adopt")
    runner.error *= 100
    record = running.start(nodes.order(attempts=3), nodes.tell, runner=runner)
    assert len(runner.error) == 98
    assert record.nodes["c1"].outcome is Outcome.FAILED
    assert record.nodes["c2"].outcome is Outcome.FINISHED


def test_a_node_drained_in_mid_run_is_given_no_further_attempt(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "exit 1")

    def tell(event: Event) -> None:
        nodes.tell(event)
        if event.kind is Happening.ENDED and event.outcome is Outcome.FAILED:
            drain(nodes, "c1")

    record = running.start(nodes.order(attempts=5), tell)
    assert [attempt.outcome for attempt in record.nodes["c1"].attempts] == [Outcome.FAILED, Outcome.DRAINED]
    assert "`shoal nodes add c1` takes it back" in record.nodes["c1"].attempts[-1].message
    assert nodes.containers("c1") == []


class Full(SshRunner):
    """Other work has the nodes' room for so many looks."""

    def __init__(self, cluster: Cluster, looks: dict[str, int]) -> None:
        super().__init__(cluster)
        self.looks = looks

    def full(self, job: JobSpec, nodes: Sequence[str]) -> dict[str, str]:
        found = {name: "other work has 1.6 of its 1.6 CPUs" for name in nodes if self.looks.get(name, 0) > 0}
        for name in nodes:
            self.looks[name] = self.looks.get(name, 0) - 1
        return found


@pytest.mark.parametrize("looks", [{"c1": 4}, {"c1": 2, "c2": 5}])
def test_a_node_without_room_is_waited_for_and_no_attempt_is_used_up(nodes: FakeNodes, looks: dict[str, int]) -> None:
    with deadline(30, "it was not given the run"):
        record = running.start(nodes.order(attempts=1), nodes.tell, runner=Full(nodes.cluster, dict(looks)))
    assert record.complete
    assert [len(record.nodes[name].attempts) for name in ("c1", "c2")] == [1, 1]
    told = [(event.node, event.text) for event in nodes.events if "waits for its turn" in event.text]
    assert told == [(name, "waits for its turn: other work has 1.6 of its 1.6 CPUs") for name in looks]


def test_ctrl_c_ends_the_waiting_for_room(nodes: FakeNodes) -> None:
    def tell(event: Event) -> None:
        nodes.tell(event)
        if "waits for its turn" in event.text:
            os.kill(os.getpid(), signal.SIGINT)

    with deadline(20, "it was waited on"), pytest.raises(KeyboardInterrupt):
        running.start(nodes.order(), tell, runner=Full(nodes.cluster, {"c1": 1000, "c2": 1000}))
    record = runs.load("r1")
    assert {node.outcome for node in record.nodes.values()} == {Outcome.PENDING}
    assert resume("r1", nodes.cluster, nodes.tell).complete


def test_a_node_that_goes_away_while_it_waits_is_told_as_such(nodes: FakeNodes) -> None:
    class Gone(Full):
        def adopt(self, run: str, nodes: Sequence[str]) -> list[Handle]:
            raise EngineSilentError("the orchestrator does not answer")

    with deadline(30, "it was waited on"):
        record = running.start(nodes.order(attempts=1), nodes.tell, runner=Gone(nodes.cluster, {"c1": 2}))
    assert record.nodes["c1"].outcome is Outcome.UNREACHABLE
    assert "the orchestrator does not answer" in record.nodes["c1"].attempts[-1].message
    assert record.nodes["c2"].outcome is Outcome.FINISHED


class Away(SshRunner):
    """Its engine's service is stopped everywhere, as a drain does it."""

    def away(self, names: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(names, "the orchestrator does not hear it")


def test_a_drained_node_is_not_waited_for(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "exit 1")
    drained = []

    def tell(event: Event) -> None:
        nodes.tell(event)
        if event.text.startswith("waiting for it"):
            drained.append(event.node)
            drain(nodes, event.node)

    with deadline(30, "it was waited for"):
        record = running.start(nodes.order(attempts=2), tell, runner=Away(nodes.cluster))
    assert drained == ["c1"]
    assert record.nodes["c1"].outcome is Outcome.DRAINED


def test_resume_gives_a_drained_node_no_run_and_says_so(nodes: FakeNodes) -> None:
    nodes.video("c1", "a.mp4", "exit 1")
    running.start(nodes.order(), nodes.tell)
    drain(nodes, "c1")
    record = resume("r1", nodes.cluster, nodes.tell, attempts=5)
    assert record.nodes["c1"].outcome is Outcome.DRAINED
    assert len(record.nodes["c1"].attempts) == 2  # one word on it, not five
    assert exit_code(record) is Exit.INCOMPLETE
    told = [event.text for event in nodes.events if event.outcome is Outcome.DRAINED]
    assert told == ["given no run; `shoal nodes add c1` takes it back"]
    assert not preflight.is_drained(nodes.cluster, nodes.cluster.node("c2"))
    nodes.path("c1", "/var/lib/shoal/drained").unlink()
    assert resume("r1", nodes.cluster, nodes.tell).complete


def test_what_a_drained_node_has_finished_still_comes_home(nodes: FakeNodes) -> None:
    running.start(nodes.order(fetch=False), nodes.tell)
    drain(nodes, "c1")
    assert resume("r1", nodes.cluster, nodes.tell).complete


def test_a_run_leaves_drained_nodes_out_and_refuses_one_that_is_named(nodes: FakeNodes) -> None:
    drain(nodes, "c2")
    with pytest.raises(UsageError, match="drained, and given no run: c2") as refused:
        running.start(nodes.order(nodes=("c1", "c2")), nodes.tell)
    assert refused.value.exit_code is Exit.USAGE
    with pytest.raises(UsageError, match="drained, and given no run: c2"):
        running.start(nodes.order(targets={"site": "bridge"}), nodes.tell)
    record = running.start(nodes.order(), nodes.tell)
    assert list(record.nodes) == ["c1"]
    assert "is drained and gets no run" in nodes.told()


def test_ctrl_c_ends_a_pause_between_attempts(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "ATTEMPT_PAUSE_S", 60.0)
    nodes.video("c1", "a.mp4", "exit 1")

    def tell(event: Event) -> None:
        nodes.tell(event)
        if event.text.startswith("again in"):
            os.kill(os.getpid(), signal.SIGINT)

    with deadline(20, "the pause was waited for"), pytest.raises(KeyboardInterrupt):
        running.start(nodes.order(attempts=2), tell)
    assert [attempt.outcome for attempt in runs.load("r1").nodes["c1"].attempts] == [Outcome.FAILED]
