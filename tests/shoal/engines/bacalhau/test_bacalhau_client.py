"""Answers read and refusals told apart, and what the client never shows."""

from __future__ import annotations

import pytest

from shoal.engines.bacalhau.client import PAGES_MOST, BacalhauClient, Endpoint, EngineError, EngineSilentError, refusal
from shoal.engines.bacalhau.executions import absent, execution_of, why_not
from shoal.engines.bacalhau.models import ComputeState, EngineExecution, Job, JobList, JobState
from shoal.engines.protocol import State
from shoal.results.record import Outcome
from shoal.run.outcomes import outcome_of, worth_another_try
from tests.shoal.engines.bacalhau.standin import serving


def client_of(address: str) -> BacalhauClient:
    return BacalhauClient(Endpoint("a-key-nobody-may-see", address=address), timeout_s=2)


def test_nodes_and_whether_they_are_fit() -> None:
    with serving("node_cut") as stand_in, client_of(stand_in.address) as client:
        first = {node.name: node for node in client.nodes()}
        cut = {node.name: node for node in client.nodes()}
    assert {name for name, node in first.items() if node.computes} == {"compute-1", "compute-2", "compute-3"}
    assert first["compute-1"].unfit() is None
    assert first["compute-1"].info.compute_node_info.max_capacity.cpu == 1.6
    assert "does not hear it (disconnected: heartbeat timeout)" in str(cut["compute-1"].unfit())


def test_a_list_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def endless(self: BacalhauClient, model: type, method: str, path: str, **more: object) -> JobList:
        asked.append(path)
        assert len(asked) < 1000
        return JobList(next_token=f"t{len(asked)}")

    monkeypatch.setattr(BacalhauClient, "_ask", endless)
    with client_of("http://127.0.0.1:9") as client, pytest.raises(EngineError, match="without end"):
        client.jobs_labelled("shoal-run", "r1")
    assert len(asked) == PAGES_MOST


def test_membership_waits_for_approval_and_can_be_taken_back() -> None:
    with serving("membership") as stand_in, client_of(stand_in.address) as client:
        client.nodes()
        pending = next(node for node in client.nodes() if node.name == "compute-1")
        assert pending.unfit() == "it is pending, not approved"
        client.act("compute-1", "approve", "asked")
        approved = next(node for node in client.nodes() if node.name == "compute-1")
        assert approved.unfit() is None
        with pytest.raises(EngineError, match="approve"):
            client.act("compute-1", "approve", "asked")
        assert any("disconnected" in str(node.unfit()) for node in client.nodes())
        client.act("compute-1", "delete", "asked")
        assert all(node.name != "compute-1" for node in client.nodes())
    assert stand_in.unknown == []


def test_nobody_there_is_silence() -> None:
    with client_of("127.0.0.1:1") as client:
        assert client.alive() is False
        with pytest.raises(EngineSilentError, match="does not answer"):
            client.nodes()


@pytest.mark.parametrize(("status", "kind"), [(503, EngineSilentError), (502, EngineSilentError), (500, EngineError)])
def test_refusals_by_status(status: int, kind: type[EngineError]) -> None:
    error = refusal(status, b"<html>no JSON</html>", "GET /x")
    assert type(error) is kind
    assert str(status) in error.message


def test_an_answer_that_is_no_api_is_told_with_the_field() -> None:
    with serving("finished") as stand_in, client_of(stand_in.address) as client:
        stand_in.scenario["exchanges"] = [
            {"method": "GET", "path": "/orchestrator/nodes", "query": {}, "status": 200, "body": {"Nodes": [{}]}}
        ]
        with pytest.raises(EngineError, match=r"Nodes\[0\]\.Info"):
            client.nodes()


def test_the_key_is_in_no_representation() -> None:
    endpoint = Endpoint("a-key-nobody-may-see")
    assert "nobody" not in repr(endpoint)
    assert "nobody" not in repr(BacalhauClient(endpoint))


def execution(state: int, message: str = "", desired: int = 2, **output: object) -> EngineExecution:
    return EngineExecution.model_validate(
        {
            "ID": "e-1", "NodeID": "n", "JobID": "j-1",
            "ComputeState": {"StateType": state, "Message": message},
            "DesiredState": {"StateType": desired},
            "RunOutput": {"ExitCode": 0, **output} if output else None,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "state"),
    [
        (execution(1, desired=0), State.STARTING),
        (execution(1, desired=1), State.RUNNING),
        (execution(7, desired=1), State.RUNNING),
        (execution(9), State.ENDED),
        (execution(8), State.REFUSED),
        (execution(10, "Execution stop requested because node has been rejected"), State.LOST),
        (execution(10, "something new"), State.ENDED),
        (execution(11, "Execution stop requested because job has been stopped"), State.STOPPED),
    ],
)
def test_states(given: EngineExecution, state: State) -> None:
    assert execution_of(given).state is state


def test_the_last_words_of_a_container_that_failed() -> None:
    ended = execution_of(execution(9, ExitCode=2, stderr="first\nthe reason\n\n"))
    assert (ended.exit_code, ended.message) == (2, "the reason")


def test_every_state_of_the_engine_is_either_live_or_over() -> None:
    assert {state for state in ComputeState if state.over} == {4, 8, 9, 10, 11}
    assert {state for state in JobState if state.over} == {"Completed", "Failed", "Stopped"}


def test_why_a_node_was_left_out() -> None:
    said = "not matching nodes to run job out of 3 available nodes.\n• Node a: no docker\n• 2 of 3 nodes: too small"
    assert why_not("a", said) == "no docker"
    assert why_not("b", said) == "too small"
    assert "no execution" in why_not("b", "")


def test_an_absent_node_is_still_to_come_while_the_job_runs() -> None:
    job = {"ID": "j", "Name": "n", "State": {"StateType": "Running"}}
    assert absent("a", Job.model_validate(job)).state is State.STARTING
    job["State"] = {"StateType": "Failed", "Message": "• Node a: too small"}
    assert absent("a", Job.model_validate(job)).message == "too small"


@pytest.mark.parametrize(
    ("said", "state", "outcome", "again"),
    [
        ("Execution timed out after 5s", State.TIMED_OUT, Outcome.TIMED_OUT, False),
        ("Execution timed out. Execution took longer than 5s", State.TIMED_OUT, Outcome.TIMED_OUT, False),
        ("Job timed out. Job took longer than 5s", State.TIMED_OUT, Outcome.TIMED_OUT, False),
        (
            'Error response from daemon: Get "https://r:5000/v2/": dial tcp 192.0.2.1:5000: connect: '
            "connection timed out",
            State.REFUSED, Outcome.NOT_RUN, True,
        ),
        ("failed to start container: operation timed out", State.REFUSED, Outcome.NOT_RUN, True),
        ("mkdir /var/lib/bacalhau/compute/e-1: no space left on device", State.ENDED, Outcome.FAILED, True),
        ("", State.ENDED, Outcome.FAILED, True),
        ("Execution stop requested because node has disappeared", State.LOST, Outcome.UNREACHABLE, True),
    ],
)  # fmt: skip
def test_what_the_engine_calls_failed(said: str, state: State, outcome: Outcome, again: bool) -> None:
    answer = {
        "ID": "e-1", "NodeID": "a", "ComputeState": {"StateType": ComputeState.FAILED, "Message": said},
        "DesiredState": {"StateType": 2},
    }  # fmt: skip
    end = execution_of(EngineExecution.model_validate(answer))
    assert (end.state, end.exit_code) == (state, None)
    found, message = outcome_of(end, None)
    assert found is outcome
    assert said in message
    assert message
    assert worth_another_try(found, end.exit_code) is again
