"""The ssh runner's pure half, outcomes and the choice of an engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from job_example import IMAGE, changed, values

from shoal import jobs
from shoal.cluster.document import Cluster, Node
from shoal.engines.choice import choose
from shoal.engines.container import docker_run, folders, read_inspect, state_of
from shoal.engines.protocol import Execution, State
from shoal.errors import Exit, ShoalError
from shoal.jobs.spec import parse
from shoal.results.documents import Manifest
from shoal.results.record import Outcome
from shoal.run.outcomes import outcome_of, worth_another_try


def after(argv: list[str], flag: str) -> list[str]:
    return [argv[index + 1] for index, word in enumerate(argv) if word == flag]


def test_the_container_is_confined_limited_and_labelled() -> None:
    argv = docker_run(jobs.render("yolov5", values(cpu="500m")), run="r1", attempt=1)
    assert argv[:3] == ["docker", "run", "--detach"]
    assert after(argv, "--name") == ["shoal-r1-a1"]
    assert after(argv, "--network") == ["none"]
    assert after(argv, "--pull") == ["never"]
    assert after(argv, "--cap-drop") == ["ALL"]
    assert after(argv, "--cap-add") == ["DAC_OVERRIDE"]
    assert after(argv, "--security-opt") == ["no-new-privileges"]
    assert "--read-only" in argv
    assert "--privileged" not in argv
    assert after(argv, "--cpus") == ["0.5"]
    assert after(argv, "--memory") == after(argv, "--memory-swap") == ["2000000000"]
    assert set(after(argv, "--label")) == {"shoal.run=r1", "shoal.attempt=1", "shoal.timeout-s=60"}
    assert after(argv, "--mount") == [
        "type=bind,source=/videos,target=/videos,readonly",
        "type=bind,source=/var/lib/shoal/weights,target=/weights,readonly",
        "type=bind,source=/var/lib/shoal/runs/r1,target=/state",
    ]
    assert argv[argv.index(IMAGE) + 1 :][:2] == ["--input", "/videos"]


def test_an_entrypoint_environment_and_odd_paths_arrive_whole() -> None:
    document = changed("Tasks/0/Engine/Params/Entrypoint", ["python3", "-u", "x.py"])
    parameters = document["Tasks"][0]["Engine"]["Params"]
    parameters["EnvironmentVariables"] = ["A=b c"]
    parameters["WorkingDirectory"] = "/w"
    document["Tasks"][0]["InputSources"][0]["Source"]["Params"]["SourcePath"] = '/a,b "c"'
    job = parse(document, source="test")
    argv = docker_run(job, run="r1", attempt=1)
    assert after(argv, "--entrypoint") == ["python3"]
    assert argv[argv.index(IMAGE) + 1 :][:3] == ["-u", "x.py", "--input"]
    assert after(argv, "--env") == ["A=b c"]
    assert after(argv, "--workdir") == ["/w"]
    assert after(argv, "--mount")[0] == 'type=bind,"source=/a,b ""c""",target=/videos,readonly'
    assert folders(job) == ["/var/lib/shoal/runs/r1"]


def inspected(**changes: object) -> str:
    state = {"Status": "exited", "ExitCode": 0, "OOMKilled": False, "Error": ""}
    return json.dumps({**state, **changes})


@pytest.mark.parametrize(
    ("seen", "asked", "limit", "state"),
    [
        ({"ExitCode": 0}, False, False, State.ENDED),
        ({"ExitCode": 3}, False, False, State.ENDED),
        ({"ExitCode": 137, "OOMKilled": True}, False, False, State.OUT_OF_MEMORY),
        ({"ExitCode": 1, "OOMKilled": True}, False, False, State.OUT_OF_MEMORY),
        ({"ExitCode": 0, "OOMKilled": True}, False, False, State.ENDED),
        ({"ExitCode": 137}, False, False, State.ENDED),
        ({"ExitCode": 143}, True, False, State.STOPPED),
        ({"ExitCode": 0}, True, False, State.ENDED),
        ({"ExitCode": 137}, False, True, State.TIMED_OUT),
        ({"ExitCode": 0}, False, True, State.ENDED),
        ({"Status": "created", "ExitCode": 127, "Error": "no such file"}, False, False, State.REFUSED),
    ],
)
def test_how_a_container_ended(seen: dict[str, object], asked: bool, limit: bool, state: State) -> None:
    found = read_inspect(inspected(**seen))
    assert found.over
    assert state_of(found, limit_passed=limit, stop_asked=asked, timeout_s=9)[0] is state


def test_a_running_container_is_not_over() -> None:
    assert not read_inspect(inspected(Status="running")).over


def manifest(exit_code: int) -> Manifest:
    files = [{"path": "summary.json", "size_bytes": 0, "sha256": "0" * 64}]
    raw = {"schema_version": 1, "run": "r1", "finished_at": "x", "exit_code": exit_code, "files": files}
    return Manifest.model_validate(raw)


@pytest.mark.parametrize(
    ("state", "exit_code", "outcome", "again"),
    [
        (State.ENDED, 0, Outcome.FAILED, True),
        (State.ENDED, 1, Outcome.FAILED, True),
        (State.ENDED, 2, Outcome.FAILED, False),
        (State.ENDED, 4, Outcome.NO_VIDEOS, False),
        (State.ENDED, 5, Outcome.FAILED, False),
        (State.ENDED, 6, Outcome.FAILED, False),
        (State.ENDED, 130, Outcome.FAILED, True),
        (State.ENDED, 137, Outcome.FAILED, True),
        (State.ENDED, 143, Outcome.FAILED, True),
        (State.ENDED, None, Outcome.FAILED, True),
        (State.OUT_OF_MEMORY, 137, Outcome.OUT_OF_MEMORY, True),
        (State.TIMED_OUT, 143, Outcome.TIMED_OUT, False),
        (State.STOPPED, 143, Outcome.STOPPED, False),
        (State.LOST, None, Outcome.UNREACHABLE, True),
        (State.REFUSED, None, Outcome.NOT_RUN, True),
    ],
)
def test_outcomes_without_a_manifest(state: State, exit_code: int | None, outcome: Outcome, again: bool) -> None:
    found, message = outcome_of(Execution("c1", "x", state, exit_code, "why"), None)
    assert found is outcome
    assert message
    assert worth_another_try(found, exit_code) is again


@pytest.mark.parametrize("state", [State.ENDED, State.LOST, State.TIMED_OUT, State.STOPPED])
@pytest.mark.parametrize(("code", "outcome"), [(0, Outcome.FINISHED), (3, Outcome.FAULTY_VIDEOS)])
def test_the_manifest_is_the_truth_whatever_the_engine_says(state: State, code: int, outcome: Outcome) -> None:
    assert outcome_of(Execution("c1", "x", state, 137), manifest(code))[0] is outcome


def cluster(engine: str) -> Cluster:
    nodes = (Node(name="r", roles=("requester", "compute"), address="x"),)
    return Cluster.model_validate({"name": "c", "substrate": "lab", "engine": engine, "nodes": nodes})


@pytest.fixture
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("_empty_cache")
def test_the_engine_is_chosen_and_said_in_one_line() -> None:
    assert str(choose("auto", cluster("auto"))) == "engine: ssh (no Bacalhau for amd64 in the artefact cache)"
    assert str(choose("ssh", cluster("bacalhau"))) == "engine: ssh (as asked)"
    assert str(choose("auto", cluster("ssh"))) == "engine: ssh (as cluster 'c' says)"


@pytest.mark.usefixtures("_empty_cache")
@pytest.mark.parametrize(("asked", "engine"), [("bacalhau", "auto"), ("auto", "bacalhau")])
def test_an_engine_that_cannot_be_had_is_refused(asked: str, engine: str) -> None:
    with pytest.raises(ShoalError, match="no Bacalhau for amd64") as raised:
        choose(asked, cluster(engine))  # type: ignore[arg-type]
    assert raised.value.exit_code is Exit.MISSING
