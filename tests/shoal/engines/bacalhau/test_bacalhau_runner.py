"""The runner against answers of a real orchestrator, replayed: every end that the engine blurs is told apart."""

from __future__ import annotations

import errno
import json
import os
import threading
import time

import pytest

from shoal.cluster import engine_id
from shoal.cluster.document import Node
from shoal.engines.bacalhau import runner as runner_module
from shoal.engines.bacalhau.client import EngineError, EngineSilentError
from shoal.engines.bacalhau.models import EngineNode, JobView, Submitted
from shoal.engines.bacalhau.runner import BacalhauRunner
from shoal.engines.protocol import Running, State
from shoal.errors import UsageError
from shoal.ssh import client as ssh
from shoal.ssh.failures import SshFailure
from tests.shoal.engines.bacalhau.conftest import NODES, Serve, make_job, until_over


def test_a_good_run_ends_on_both_nodes_with_all_lines(serve: Serve) -> None:
    with serve("finished") as (stand_in, runner):
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        lines = {node: list(runner.logs(handle, node)) for node in NODES}
        ends = until_over(runner, handle)
    assert lines == {node: ["line 1", "line 2", "line 3", "to stderr"] for node in NODES}
    assert {node: (end.state, end.exit_code) for node, end in ends.items()} == dict.fromkeys(NODES, (State.ENDED, 0))
    submitted = next(body["Job"] for method, _, body in stand_in.calls if method == "PUT")
    assert submitted["Constraints"] == [{"Key": "name", "Operator": "in", "Values": engine_id.either(NODES)}]
    timeouts = submitted["Tasks"][0]["Timeouts"]
    assert timeouts["ExecutionTimeout"] == 60
    assert timeouts["TotalTimeout"] > 60  # waiting behind another run is not the run's own time


@pytest.mark.parametrize(
    ("scenario", "state", "exit_code", "words"),
    [
        ("non_zero", State.ENDED, 3, ""),
        ("memory_failed", State.OUT_OF_MEMORY, None, "ran out of memory"),
        ("memory_137", State.ENDED, 137, ""),
        ("timed_out", State.TIMED_OUT, None, "timed out after 2s"),
        ("no_image", State.REFUSED, None, "cannot get the image"),
        ("not_allowed", State.REFUSED, None, "does not allow the path"),
    ],
)
def test_ends_that_are_no_success(serve: Serve, scenario: str, state: State, exit_code: int | None, words: str) -> None:
    with serve(scenario) as (_, runner):
        handle = runner.submit(make_job(), run=scenario, attempt=1, nodes=NODES)
        ends = until_over(runner, handle)
    assert {(end.state, end.exit_code) for end in ends.values()} == {(state, exit_code)}
    assert all(words in end.message for end in ends.values())


def test_a_plain_137_is_looked_into_on_the_node(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the engine's own label for that execution; each node has its own answer."""
    asked: dict[str, tuple[str, ...]] = {}
    answers = {"compute-1": b"event oom\n", "compute-2": b"event kill 9\n"}

    def run(cluster: object, node: Node, *command: str, **more: object) -> ssh.Completed:
        asked[node.name] = command
        return ssh.Completed(0, answers[node.name], "")

    monkeypatch.setattr(ssh, "run", run)
    with serve("memory_137") as (_, runner):
        handle = runner.submit(make_job(), run="memory-137", attempt=1, nodes=NODES)
        found = {name: runner.examine(end) for name, end in until_over(runner, handle).items()}
    assert {name: end.state for name, end in found.items()} == {
        "compute-1": State.OUT_OF_MEMORY, "compute-2": State.STOPPED,
    }  # fmt: skip
    label = f"label=bacalhau-executionID=bacalhau-compute-1{found['compute-1'].id}"
    assert asked["compute-1"][-2:] == (label, label)
    assert found["compute-1"].message == "the container ran out of memory (exit code 137)"
    assert "somebody on the node" in found["compute-2"].message


def test_programs_are_read_back_from_the_running_services(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    units: dict[str, str] = {}

    def run(cluster: object, node: Node, *command: str, **more: object) -> ssh.Completed:
        if node.name == "compute-2":
            raise ssh.SshError(node, SshFailure.REFUSED, "")
        units[node.name] = command[-1]
        return ssh.Completed(0, f"{node.name[-1] * 64}  /proc/7/exe\n".encode(), "")

    monkeypatch.setattr(ssh, "run", run)
    with serve("finished") as (_, runner):
        found = runner.programs(NODES)
    assert found == [
        Running("requester", "", "amd64", "r" * 64),  # the recordings' orchestrator has another name
        Running("compute-1", "1.9.3", "amd64", "1" * 64),
    ]
    assert units == {"requester": "bacalhau-orchestrator.service", "compute-1": "bacalhau-compute.service"}


def test_a_declined_bid_is_a_refusal_although_the_job_is_completed(serve: Serve) -> None:
    with serve("bid_rejected") as (_, runner):
        handle = runner.submit(make_job(), run="bid-rejected", attempt=1, nodes=("compute-3",))
        end = until_over(runner, handle)["compute-3"]
    assert end.state is State.REFUSED
    assert "does not have all input data locally" in end.message


def test_a_node_that_the_orchestrator_does_not_know_is_named(serve: Serve) -> None:
    with serve("one_missing") as (stand_in, runner):
        handle = runner.submit(make_job(), run="one-missing", attempt=1, nodes=("compute-1", "compute-9"))
        ends = until_over(runner, handle)
    assert ends["compute-1"].state is State.ENDED
    assert ends["compute-9"].state is State.REFUSED
    assert "does not know the node" in ends["compute-9"].message
    submitted = next(body["Job"] for method, _, body in stand_in.calls if method == "PUT")
    assert submitted["Constraints"][0]["Values"] == ["compute-1", "compute-1_node"]


def test_an_expected_node_without_an_execution_is_refused_when_the_job_is_over(serve: Serve) -> None:
    # The job of `one_missing` had one execution; here two nodes were expected of it.
    with serve("one_missing") as (_, runner):
        handle = runner.submit(make_job(), run="one-missing", attempt=1, nodes=NODES)
        ends = until_over(runner, handle)
    assert ends["compute-1"].state is State.ENDED
    assert ends["compute-2"].state is State.REFUSED
    assert "gave it no execution" in ends["compute-2"].message


def test_an_execution_that_the_engine_forgets_is_a_loss_not_a_refusal(serve: Serve) -> None:
    with serve("finished") as (stand_in, runner):
        recorded = stand_in.scenario["exchanges"]
        views = [e for e in recorded if e["query"] == {"include": "executions"}]
        running = next(e for e in views if len(e["body"]["Executions"]["Items"]) == len(NODES))
        # Still going on, then over: in neither is there a word of the second node.
        forgotten = [json.loads(json.dumps(one)) for one in (running, views[-1])]
        for one in forgotten:
            items = one["body"]["Executions"]["Items"]
            one["body"]["Executions"]["Items"] = [item for item in items if item["NodeID"] != NODES[1]]
        recorded[:] = [e for e in recorded if e not in views] + [running, *forgotten]
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        ends = until_over(runner, handle)
    assert ends[NODES[0]].state is State.ENDED
    assert ends[NODES[1]].state is State.LOST
    assert ends[NODES[1]].id
    assert "does not know of its execution any more" in ends[NODES[1]].message


def test_more_than_a_node_gives_out_is_refused_before_anything_is_submitted(serve: Serve) -> None:
    with serve("finished") as (stand_in, runner), pytest.raises(UsageError) as refused:
        runner.admit(make_job(cpu="500", memory="900GB"), NODES)
    assert [fault.where for fault in refused.value.faults] == ["compute-1", "compute-1", "compute-2", "compute-2"]
    assert "500 CPUs, the node's service gives out 1.6" in str(refused.value)
    assert [method for method, _, _ in stand_in.calls] == ["GET"]


def test_a_restarted_service_is_a_loss_on_that_node_alone(serve: Serve) -> None:
    with serve("service_killed") as (_, runner):
        handle = runner.submit(make_job(), run="service-killed", attempt=1, nodes=NODES)
        ends = until_over(runner, handle)
    assert ends["compute-1"].state is State.LOST
    assert "Failing due to node restart" in ends["compute-1"].message
    assert ends["compute-2"].state is State.ENDED


@pytest.mark.parametrize("scenario", ["node_cut", "orchestrator_restarted"])
def test_a_node_that_disappeared_is_a_loss(serve: Serve, scenario: str) -> None:
    with serve(scenario) as (_, runner):
        handle = runner.submit(make_job(), run=scenario, attempt=1, nodes=NODES)
        ends = until_over(runner, handle)
    assert sorted(end.state for end in ends.values()) == [State.ENDED, State.LOST]
    assert any("node has disappeared" in end.message for end in ends.values())


def test_an_orchestrator_without_its_disk_loses_all(serve: Serve) -> None:
    with serve("orchestrator_wiped") as (_, runner):
        handle = runner.submit(make_job(), run="orchestrator-wiped", attempt=1, nodes=NODES)
        ends = until_over(runner, handle)
        assert {end.state for end in ends.values()} == {State.LOST}
        assert all("disk was lost" in end.message for end in ends.values())
        assert runner.adopt("orchestrator-wiped", NODES) == []


def test_stop_waits_for_the_ends(serve: Serve) -> None:
    with serve("stopped") as (_, runner):
        handle = runner.submit(make_job(), run="stopped", attempt=1, nodes=NODES)
        assert runner.stop(handle) == []
        assert {end.state for end in until_over(runner, handle).values()} == {State.STOPPED}


def test_an_orchestrator_that_is_silent_for_a_while_costs_nothing(serve: Serve) -> None:
    with serve("finished", silent_for=4) as (_, runner):
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        assert {end.state for end in until_over(runner, handle).values()} == {State.ENDED}


def test_an_orchestrator_that_stays_silent_before_the_start_is_an_error(serve: Serve) -> None:
    with serve("finished", silent_for=10_000, patience_s=0.2) as (_, runner), pytest.raises(EngineSilentError):
        runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)


def test_an_orchestrator_that_falls_silent_in_mid_run_loses_what_ran(serve: Serve) -> None:
    # Its container's lines are never asked for, so the job goes on until nobody answers.
    with serve("finished", patience_s=0.3, live_until_said=True) as (stand_in, runner):
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        with stand_in.lock:
            stand_in.silent_for = 10_000
        ends = until_over(runner, handle).values()
    assert [end.state for end in ends] == [State.LOST] * len(NODES)
    assert all("does not answer" in end.message for end in ends)


def failing(runner: BacalhauRunner, monkeypatch: pytest.MonkeyPatch, error: Exception, *, times: int) -> None:
    """The client's next looks at a job raise `error`."""
    client = runner._client
    look, left = client.job, [error] * times

    def job(job_id: str) -> JobView:
        if left:
            raise left.pop()
        return look(job_id)

    monkeypatch.setattr(client, "job", job)


OURS = [
    OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    UsageError("there is no file /k"),
    EngineError("x", status=500),
]


@pytest.mark.parametrize("error", [*OURS, EngineError("too many", status=429), EngineError("no JSON")])
def test_what_may_pass_is_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with serve("finished") as (_, runner):
        failing(runner, monkeypatch, error, times=3)
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        assert {end.state for end in until_over(runner, handle).values()} == {State.ENDED}


@pytest.mark.parametrize("error", [*OURS, ValueError("neither")])
def test_what_lasts_loses_what_ran_and_never_hangs(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with serve("finished", patience_s=0.2) as (_, runner):
        failing(runner, monkeypatch, error, times=10_000)
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        ends = until_over(runner, handle).values()
    assert {end.state for end in ends} == {State.LOST}
    assert all((os.strerror(errno.EMFILE) if isinstance(error, OSError) else str(error)) in end.message for end in ends)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_not_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with serve("finished", patience_s=60) as (_, runner):
        failing(runner, monkeypatch, EngineError("no", status=status), times=10_000)
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        assert {end.state for end in until_over(runner, handle).values()} == {State.LOST}


def test_the_end_waits_for_no_call_that_hangs(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = threading.Event()
    with serve("finished") as (_, runner):
        monkeypatch.setattr(runner_module, "CLOSE_S", 0.1)
        monkeypatch.setattr(runner._client, "job", lambda _: hung.wait(30))
        monkeypatch.setattr(runner._client, "close", lambda: hung.wait(30))
        runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        begun = time.monotonic()
        runner.close()
        assert time.monotonic() - begun < 2
        hung.set()


def test_a_broken_log_connection_is_taken_up_without_repeating_lines(serve: Serve) -> None:
    with serve("finished", cut_after=2) as (_, runner):
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        assert list(runner.logs(handle, "compute-1")) == ["line 1", "line 2", "line 3", "to stderr"]


def test_a_submission_whose_answer_was_lost_is_found_again(serve: Serve) -> None:
    with serve("name_taken") as (stand_in, runner):
        recorded = stand_in.scenario["exchanges"]
        # As if the first submission had reached the orchestrator and its answer had not reached us.
        recorded[:] = [e for e in recorded if not (e["method"] == "PUT" and e["status"] == 200)]
        job = make_job("name-taken")
        handle = runner.submit(job, run="name-taken", attempt=1, nodes=NODES)
        assert handle.job.startswith("j-")
        assert {end.state for end in until_over(runner, handle).values()} == {State.ENDED}


def test_a_live_run_is_adopted_by_its_label(serve: Serve) -> None:
    with serve("finished") as (stand_in, runner):
        recorded = stand_in.scenario["exchanges"]
        # As a process sees it that comes when the job is listed and runs.
        lists = [e for e in recorded if e["path"] == "/orchestrator/jobs" and e["method"] == "GET"]
        views = [e for e in recorded if e["query"] == {"include": "executions"}]
        recorded[:] = [lists[-1], *(e for e in views if e["body"]["Job"]["State"]["StateType"] != "Pending")]
        (handle,) = runner.adopt("finished", NODES)
        assert (handle.attempt, sorted(handle.nodes)) == (1, sorted(NODES))
        assert {end.state for end in until_over(runner, handle).values()} == {State.ENDED}
        assert runner.adopt("finished", NODES) == []  # ended now: the manifests say what became of it


@pytest.mark.parametrize("status", [0, 429, 500])
def test_a_moment_of_silence_does_not_hinder_an_adoption(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with serve("finished", live_until_said=True) as (stand_in, runner):
        recorded = stand_in.scenario["exchanges"]
        lists = [e for e in recorded if e["path"] == "/orchestrator/jobs" and e["method"] == "GET"]
        recorded[:] = [lists[-1], *(e for e in recorded if e["query"] == {"include": "executions"})]
        error = EngineError("a fault", status=status) if status else EngineSilentError("nobody answers")
        failing(runner, monkeypatch, error, times=2)
        (handle,) = runner.adopt("finished", NODES)
        assert sorted(handle.nodes) == sorted(NODES)


def test_a_submission_that_is_refused_is_told_at_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def submit(job: object) -> Submitted:
        asked.append(job)
        raise EngineError("a fault of the orchestrator's own", status=500)

    with serve("finished", patience_s=60) as (_, runner):
        monkeypatch.setattr(runner._client, "submit", submit)
        with pytest.raises(EngineError, match="of the orchestrator's own"):
            runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
    assert len(asked) == 1


def test_nodes_of_one_attempt_may_be_adopted_one_by_one(serve: Serve) -> None:
    """As nodes are healed one by one after the orchestrator was silent for too long: none forgets the other."""
    with serve("finished") as (stand_in, runner):
        recorded = stand_in.scenario["exchanges"]
        lists = [e for e in recorded if e["path"] == "/orchestrator/jobs" and e["method"] == "GET"]
        views = [e for e in recorded if e["query"] == {"include": "executions"}]
        live = [e for e in views if e["body"]["Job"]["State"]["StateType"] != "Pending"]
        recorded[:] = [lists[-1], *live[:1] * 3, *live]
        handles = [handle for name in NODES for handle in runner.adopt("finished", [name])]
        assert [handle.nodes for handle in handles] == [(name,) for name in NODES]
        assert [list(until_over(runner, handle)) for handle in handles] == [list(NODES)[:1], list(NODES)[1:]]


def test_nodes_that_are_away(serve: Serve) -> None:
    with serve("node_cut") as (_, runner):
        assert runner.away(NODES) == {}
        assert "does not hear it" in runner.away(NODES)["compute-1"]
        assert runner.away(NODES) == {}


def test_a_wrong_key_is_told_as_such(serve: Serve) -> None:
    with serve("unauthorised") as (stand_in, runner):
        recorded = stand_in.scenario["exchanges"]
        recorded[:] = [e for e in recorded if e["status"] != 200 or e["path"] == "/agent/alive"]
        with pytest.raises(EngineError, match="refuses our key"):
            runner.submit(make_job(), run="r", attempt=1, nodes=NODES)


def test_a_log_stream_that_ends_before_the_container_is_there_is_opened_again(serve: Serve) -> None:
    with serve("finished", empty_first=True) as (_, runner):
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=("compute-1", "compute-2"))
        assert list(runner.logs(handle, "compute-1")) == ["line 1", "line 2", "line 3", "to stderr"]


LINES = ["line 1", "line 2", "line 3", "to stderr"]


def test_a_log_stream_without_lines_yet_is_kept(serve: Serve) -> None:
    """One given up would hold the node, and the next one wait behind it until the container has ended."""
    with serve("finished", live_until_said=True, first_line_s=0.8) as (stand_in, runner):
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        assert list(runner.logs(handle, "compute-1")) == LINES
        assert stand_in.given_up == 0


def test_no_log_stream_is_opened_for_a_container_that_never_was(serve: Serve) -> None:
    """It would hold the node for a minute, and whatever runs next would show no line for so long."""
    with serve("no_image") as (stand_in, runner):
        handle = runner.submit(make_job("no-image"), run="no-image", attempt=1, nodes=NODES)
        ends = until_over(runner, handle)
        assert {end.state for end in ends.values()} == {State.REFUSED}
        assert [list(runner.logs(handle, node)) for node in NODES] == [[], []]
        assert stand_in.log_connections == []


def test_a_log_stream_that_gave_way_to_another_is_not_taken_for_whole(serve: Serve) -> None:
    with serve("finished", live_until_said=True, ended_after=2) as (stand_in, runner):
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        assert list(runner.logs(handle, "compute-1")) == LINES
        assert len(stand_in.log_connections) == 2


def test_a_node_that_somebody_elses_log_stream_holds_is_freed_by_a_second_one(serve: Serve) -> None:
    with serve("finished", live_until_said=True, held=True) as (stand_in, runner):
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        assert list(runner.logs(handle, "compute-1")) == LINES
        assert len(stand_in.log_connections) == 2


def test_a_log_stream_that_stays_silent_gets_another_beside_it(serve: Serve) -> None:
    with serve("finished", mute_first=True) as (_, runner):
        handle = runner.submit(make_job(), run="finished", attempt=1, nodes=NODES)
        lines = [list(runner.logs(handle, node)) for node in NODES]
    assert lines == [["line 1", "line 2", "line 3", "to stderr"]] * 2


@pytest.mark.parametrize(
    ("free", "waiting", "asked", "why"),
    [
        ((1.6, 8e9), (0, 0), ("1.6", "2GB"), None),
        ((0.8, 6e9), (0, 0), ("1.6", "2GB"), None),  # it waits on the node
        ((0.0, 6e9), (0, 0), ("0.8", "2GB"), None),
        ((0.0, 6e9), (0, 0), ("0.9", "2GB"), "other work has 1.6 of its 1.6 CPUs"),
        ((0.8, 6e9), (0.8, 0), ("1.6", "2GB"), "other work has 1.6 of its 1.6 CPUs"),
        ((1.6, 0), (0, 0), ("1.6", "5GB"), "other work has 8 of its 8 GB of memory"),
    ],
)
def test_room_on_a_node_as_the_engine_reckons_it(
    free: tuple[float, float], waiting: tuple[float, float], asked: tuple[str, str], why: str | None
) -> None:
    def resources(cpu: float, memory: float) -> dict[str, float | int]:
        return {"CPU": cpu, "Memory": int(memory)}

    info = {
        "MaxCapacity": resources(1.6, 8e9), "AvailableCapacity": resources(*free), "QueueCapacity": resources(*waiting)
    }  # fmt: skip
    node = EngineNode.model_validate(
        {"Info": {"NodeID": "n", "NodeType": "Compute", "ComputeNodeInfo": info}, "Membership": "APPROVED"}
    )
    assert runner_module.no_room(make_job(cpu=asked[0], memory=asked[1]), node) == why


def test_a_node_that_is_away_is_not_taken_for_full(serve: Serve) -> None:
    with serve("node_cut") as (stand_in, runner):
        for exchange in stand_in.scenario["exchanges"]:
            for node in exchange["body"].get("Nodes") or [] if isinstance(exchange["body"], dict) else []:
                node["Info"].get("ComputeNodeInfo", {}).pop("AvailableCapacity", None)
        assert set(runner.full(make_job(cpu="1.6"), NODES)) == set(NODES)
        # Cut off by now: what it has is unknown, and it is told as away.
        assert set(runner.full(make_job(cpu="1.6"), NODES)) == {"compute-2"}
