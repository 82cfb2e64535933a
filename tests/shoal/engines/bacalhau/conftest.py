"""A cluster of the recordings' nodes, a job, and a runner that asks the stand-in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shoal.cluster import document as clusters
from shoal.cluster.document import Cluster
from shoal.engines.bacalhau import runner as runner_module
from shoal.engines.bacalhau.client import BacalhauClient, Endpoint
from shoal.engines.bacalhau.runner import BacalhauRunner
from shoal.engines.protocol import Execution, Handle
from shoal.jobs import Values, render
from shoal.jobs.spec import JobSpec
from tests.shoal.engines.bacalhau.standin import StandIn, serving

NODES = ("compute-1", "compute-2")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("POLL_S", 0.02), ("RETRY_S", 0.02), ("STOP_TIMEOUT_S", 3.0)):
        monkeypatch.setattr(runner_module, name, value)
    for name, value in (("RETRY_S", 0.02), ("WAIT_S", 0.02), ("SILENCE_S", 0.1), ("FIRST_LINE_S", 0.3), ("END_S", 0.3)):
        monkeypatch.setattr(f"shoal.engines.bacalhau.logs.{name}", value)


@pytest.fixture
def cluster() -> Cluster:
    nodes = [{"name": "requester", "roles": ["requester"], "address": "192.0.2.10"}]
    nodes += [{"name": f"compute-{n}", "roles": ["compute"], "address": f"192.0.2.1{n}"} for n in (1, 2, 3)]
    return clusters.parse({"name": "recorded", "substrate": "lab", "nodes": nodes}, source="test")


def make_job(run: str = "r", **changes: Any) -> JobSpec:
    values = {
        "run": run, "attempt": 1, "image": "registry.example:5000/detector@sha256:" + "0" * 64,
        "weights_name": "yolov5s",
        "weights_sha256": "1" * 64, "cpu": "0.5", "memory": "200MB", "timeout_s": 60,
    }  # fmt: skip
    return render("yolov5", Values(**{**values, **changes}))


Serve = Callable[..., Any]


@pytest.fixture
def serve(cluster: Cluster) -> Serve:
    """`with serve("finished") as (stand_in, runner):`; at the end every call has to be one that was recorded."""

    @contextmanager
    def start(name: str, *, patience_s: float = 2.0, **changes: Any) -> Iterator[tuple[StandIn, BacalhauRunner]]:
        with serving(name, **changes) as stand_in:
            client = BacalhauClient(Endpoint("KEY", address=stand_in.address), timeout_s=5)
            runner = BacalhauRunner(cluster, client, patience_s=patience_s)
            try:
                yield stand_in, runner
            finally:
                runner.close()
            assert stand_in.unknown == []

    return start


def until_over(runner: BacalhauRunner, handle: Handle, timeout_s: float = 5.0) -> dict[str, Execution]:
    deadline = time.monotonic() + timeout_s
    while not all(execution.over for execution in runner.executions(handle)):
        assert time.monotonic() < deadline, runner.executions(handle)
        time.sleep(0.01)
    return {execution.node: execution for execution in runner.executions(handle)}
