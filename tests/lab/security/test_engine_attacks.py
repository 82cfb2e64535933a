"""One compute node commands no other: forged jobs, the open message port, and what a job's container may do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attack_ground import Ground

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

CONTAINERS = "docker ps -aq --filter label=bacalhau-executor"
NEW, BID_ACCEPTED = 1, 5
"""States of an execution (pkg/models/execution.go). One that says it was accepted already never comes by the probe."""


def image(ground: Ground) -> str:
    found: str = json.loads(ground.on("compute-2", "cat /var/lib/shoal/image.json"))["reference"]
    return found


def forged(ground: Ground, run: str, state: int, **params: Any) -> str:
    """An execution as the orchestrator words it: by default a shell as root over /videos, with a run's folder."""
    job = {
        "ID": f"j-{uuid.uuid4()}", "Name": f"forged-{run}", "Namespace": "default", "Type": "ops", "Priority": 0,
        "Count": 0, "Constraints": [], "Meta": {"bacalhau.org/orchestrator.id": "requester-orchestrator"}, "Labels": {},
        "Tasks": [{
            "Name": "detect", "Publisher": {"Type": ""}, "Network": {"Type": "None"},
            "Engine": {"Type": "docker", "Params": {
                "Image": image(ground), "Entrypoint": ["sh", "-c"], "Parameters": ["id >/state/owned"], **params}},
            "InputSources": [
                {"Source": {"Type": "local", "Params": {"SourcePath": "/videos"}}, "Alias": "v", "Target": "/videos"},
                {"Source": {"Type": "local", "Params": {
                    "SourcePath": f"/var/lib/shoal/runs/{run}", "ReadWrite": True, "CreateAs": "dir"}},
                 "Alias": "s", "Target": "/state"},
            ],
            "Resources": {"CPU": "0.5", "Memory": "200MB"}, "Timeouts": {"TotalTimeout": 60, "ExecutionTimeout": 60},
        }],
        "State": {"StateType": "Running"}, "Version": 1, "Revision": 1,
    }  # fmt: skip
    execution = {
        "ID": f"e-{uuid.uuid4()}", "Namespace": "default", "EvalID": str(uuid.uuid4()), "Name": "", "JobID": job["ID"],
        "NodeID": "compute-2_node", "Job": job, "DesiredState": {"StateType": 1}, "ComputeState": {"StateType": state},
        "AllocatedResources": {"Tasks": {"detect": {"CPU": 0.5, "Memory": 200_000_000}}}, "Revision": 0,
    }  # fmt: skip
    return json.dumps(execution)


def until(condition: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.3)


@pytest.mark.parametrize("state", [NEW, BID_ACCEPTED])
def test_a_forged_job_from_another_node_is_refused(engine: Ground, state: int) -> None:
    """With compute-1's own token and no check of certificates, as an attacker who is root there."""
    run = f"forged-{uuid.uuid4().hex[:8]}"
    before = engine.on("compute-2", CONTAINERS)
    answered = answer(engine, forged(engine, run, state))
    assert 'its entry point ["sh", "-c"] is not one that the site allows' in answered
    assert engine.on("compute-2", f"ls /var/lib/shoal/runs/{run} 2>/dev/null || true") == ""
    assert engine.on("compute-2", CONTAINERS) == before


@pytest.mark.parametrize("state", [NEW, BID_ACCEPTED])
def test_another_image_is_refused_as_well(engine: Ground, state: int) -> None:
    run = f"forged-{uuid.uuid4().hex[:8]}"
    here = image(engine)
    other = here.partition("@")[0] + "@sha256:" + "0" * 64
    answered = answer(engine, forged(engine, run, state, Image=other, Entrypoint=[]))
    assert "this node" in answered
    assert f"its image is {other}; this node runs " in answered
    assert engine.on("compute-2", f"ls /var/lib/shoal/runs/{run} 2>/dev/null || true") == ""


VARIABLES = ["PYTHONWARNINGS=all:0:antigravity.x:0:0", "BROWSER=sh -c 'id >/state/owned' %s"]
"""With these two Python begins what BROWSER names before the program that it was started for."""


@pytest.mark.parametrize("state", [NEW, BID_ACCEPTED])
@pytest.mark.parametrize(
    ("params", "target", "word"),
    [
        ({"EnvironmentVariables": VARIABLES}, None, "the site allows that image no variable"),
        ({"WorkingDirectory": "/state"}, None, "the site allows that image no working directory"),
        ({}, "/videos/.shoal", "is seen by a job at /state"),
        ({}, "/opt/shoal/app", "is seen by a job at /state"),
    ],
    ids=["variables", "folder", "over the privacy policy", "over the program"],
)
def test_the_sites_own_image_is_led_to_nothing_else(
    engine: Ground, state: int, params: dict[str, Any], target: str | None, word: str
) -> None:
    """Image and entry point as they should be: what surrounds them makes them run somebody's commands, or see less."""
    run = f"forged-{uuid.uuid4().hex[:8]}"
    before = engine.on("compute-2", CONTAINERS)
    execution = json.loads(forged(engine, run, state, Entrypoint=[], Parameters=["--version"], **params))
    if target:
        execution["Job"]["Tasks"][0]["InputSources"][1]["Target"] = target
    answered = answer(engine, json.dumps(execution))
    assert word in answered
    assert engine.on("compute-2", f"ls /var/lib/shoal/runs/{run}/owned 2>/dev/null || true") == ""
    assert engine.on("compute-2", CONTAINERS) == before


def answer(engine: Ground, execution: str) -> str:
    """What compute-2 says to the forged request, quotes as they were."""
    sent = engine.attack("compute-1", "forge", "compute-2_node", "trusting", given=execution)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    return sent.stdout.replace("\\", "")


@pytest.mark.parametrize("mode", ["plain", "foreign"])
def test_the_message_port_is_encrypted_by_this_clusters_authority(engine: Ground, mode: str) -> None:
    engine.on("compute-1", "cp /etc/ssl/certs/ca-certificates.crt /tmp/foreign-ca.pem")
    heard = engine.attack("compute-1", "listen", "5", mode)
    assert heard.returncode == 3, heard.stdout
    assert "taken" not in heard.stdout


def test_a_user_is_told_why_a_node_refuses_his_job(engine: Ground, tmp_path: Path) -> None:
    template = tmp_path / "shell.yaml.j2"
    given = (Path(__file__).parents[1] / "bacalhau" / "exit.yaml.j2").read_text()
    template.write_text(given.replace("[python3, -c]", "[sh, -c]").replace("@DO@", "id"))
    done = shoal(engine, tmp_path, "run", "--engine", "bacalhau", "--template", str(template), "--attempts", "1")
    assert done.returncode != 0
    assert 'its entry point ["sh", "-c"] is not one that the site allows that image' in done.stderr


def shoal(ground: Ground, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    repository = Path(__file__).resolve().parents[3]
    return subprocess.run(
        [sys.executable, "-m", "shoal", *words, *(["--cluster", str(ground.lab.document)])],
        cwd=home, capture_output=True, text=True, check=False, timeout=500,
        env={**os.environ, "PYTHONPATH": str(repository), "SHOAL_RUNS": str(home / "runs"), "COLUMNS": "200"},
    )  # fmt: skip


CONFINED = {
    "ReadonlyRootfs": True, "CapDrop": ["ALL"], "NetworkMode": "none", "PidsLimit": 512, "Privileged": False,
}  # fmt: skip
"""The table in docs/security.md, by Docker's own names."""


@pytest.mark.parametrize("chosen", ["bacalhau", "ssh"])
def test_a_jobs_container_is_confined_whoever_started_it(engine: Ground, tmp_path: Path, chosen: str) -> None:
    repository = Path(__file__).resolve().parents[3]
    run = subprocess.Popen(
        [sys.executable, "-m", "shoal", "run", "--engine", chosen, "--cluster", str(engine.lab.document),
         "--img", "320", "--stride", "2", "--node", "compute-1"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(repository), "SHOAL_RUNS": str(tmp_path / "runs")},
    )  # fmt: skip
    try:
        label = "bacalhau-executor" if chosen == "bacalhau" else "shoal.run"
        listed = f"docker ps -q --filter label={label}"
        until(lambda: engine.on("compute-1", listed).strip(), "no container came to be", 120)
        container = engine.on("compute-1", listed).split()[0]
        host = json.loads(engine.on("compute-1", f"docker inspect -f '{{{{json .HostConfig}}}}' {container}"))
        assert {key: host[key] for key in CONFINED} == CONFINED
        assert [name.removeprefix("CAP_") for name in host["CapAdd"]] == ["DAC_OVERRIDE"]
        assert "no-new-privileges" in host["SecurityOpt"]
        assert list(host["Tmpfs"]) == ["/tmp"]
        assert host["Memory"] == host["MemorySwap"] > 0
        assert host["NanoCpus"] > 0
        writable = [mount["Target"] for mount in host["Mounts"] if not mount.get("ReadOnly")]
        assert writable == ["/state"]
        inside = engine.on("compute-1", f"docker exec {container} cat /proc/1/status")
        facts = dict(line.split(":\t", 1) for line in inside.splitlines() if ":\t" in line)
        assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 1 << 1  # CAP_DAC_OVERRIDE
        assert facts["NoNewPrivs"].strip() == "1"
        assert facts["Seccomp"].strip() == "2"
        inside_of = ("docker", "exec", container, "sh", "-c")
        for forbidden in ("touch /x", "mknod /tmp/d b 8 0", "chown 1000 /state", "touch /videos/x", "touch /weights/x"):
            assert engine.done("compute-1", *inside_of, forbidden).returncode != 0, forbidden
    finally:
        said = run.communicate(timeout=300)[1]
    assert run.returncode == 0, said
