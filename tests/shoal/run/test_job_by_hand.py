"""A job file handed in by hand: planned without a change, begun with every check, taken up by --resume."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from fake_nodes import FakeNodes, outcomes

from shoal import jobs
from shoal.errors import UsageError
from shoal.jobs import identity
from shoal.jobs.spec import parse
from shoal.results import record as runs
from shoal.results.record import Outcome, Weights
from shoal.run import start as running
from shoal.run.resume import resume


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes.make(tmp_path, monkeypatch)
    found.video("c1", "a.mp4")
    found.video("c2", "b.mp4")
    return found


def by_hand(nodes: FakeNodes, file: Path) -> running.Order:
    job = jobs.read(file)
    said = identity.of(job, source=str(file))
    return replace(nodes.order(run=None), job=job, weights=Weights(name=said.weights_name, sha256=said.weights_sha256))


def test_show_changes_nothing_and_submit_runs_what_the_file_says(nodes: FakeNodes, tmp_path: Path) -> None:
    planned = running.plan(nodes.order(knobs={"conf": 0.4}))
    assert not runs.run_dir("r1").exists()
    assert nodes.containers("c1") == []
    file = tmp_path / "job.yaml"
    file.write_text(jobs.text(planned.job).replace("r1", "harbour-1"), encoding="utf-8")

    record = running.start(by_hand(nodes, file), nodes.tell, wait=False)
    assert record.run == "harbour-1"
    assert record.options["conf"] == "0.4"
    assert record.weights.sha256 == hashlib.sha256(b"model").hexdigest()
    assert outcomes(runs.load("harbour-1")) == {"c1": Outcome.PENDING, "c2": Outcome.PENDING}
    record = resume("harbour-1", nodes.cluster, nodes.tell)
    assert record.complete
    assert [len(node.attempts) for node in record.nodes.values()] == [1, 1]


def test_a_file_of_a_run_that_there_is_begins_nothing(nodes: FakeNodes, tmp_path: Path) -> None:
    record = running.start(nodes.order(), nodes.tell)
    file = tmp_path / "job.yaml"
    file.write_text(jobs.text(parse(record.job, source="test")), encoding="utf-8")
    with pytest.raises(UsageError, match="there is a run 'r1' already"):
        running.start(by_hand(nodes, file), nodes.tell)
    # Begun by another control machine: the nodes know it.
    runs.record_path("r1").unlink()
    with pytest.raises(UsageError, match="was begun on nodes already"):
        running.start(by_hand(nodes, file), nodes.tell)
    assert nodes.containers("c1") == []
