"""The record of a run: what it keeps, what counts as complete, and what a damaged one says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shoal.errors import UsageError
from shoal.results import record as runs
from shoal.results.record import Fetched, Image, NodeRecord, Outcome, RunRecord, Weights

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_RUNS", str(tmp_path / "runs"))


def record(**nodes: NodeRecord) -> RunRecord:
    return RunRecord(
        run="r1",
        created_at=NOW,
        cluster="lab",
        substrate="lab",
        engine="ssh",
        image=Image(reference="registry:5000/x"),
        weights=Weights(name="yolov5s", sha256="0" * 64),
        nodes=nodes,
    )


def test_run_ids_sort_by_time_and_differ() -> None:
    first, second = runs.new_run_id(NOW), runs.new_run_id(NOW)
    assert first.startswith("20260102-030405-")
    assert first != second
    assert runs.check_run_id(first) == first


@pytest.mark.parametrize("bad", ["", "../x", "a/b", "-x", "A", "x" * 49, "x\n", "a b"])
def test_a_run_id_cannot_leave_its_folder(bad: str) -> None:
    with pytest.raises(UsageError):
        runs.run_dir(bad)


def test_a_record_comes_back_as_it_was() -> None:
    runs.save(record(a=NodeRecord(outcome=Outcome.OUT_OF_MEMORY)))
    assert runs.load("r1") == record(a=NodeRecord(outcome=Outcome.OUT_OF_MEMORY))
    assert runs.list_runs() == ["r1"]


def test_the_newest_run_is_told_by_its_time_and_not_by_its_name(tmp_path: Path) -> None:
    for name, minutes in (("zebra", 0), ("20260102-030405-aaaa", 1), ("able", 2)):
        made = record(a=NodeRecord())
        made.run, made.created_at = name, NOW + timedelta(minutes=minutes)
        runs.save(made)
    assert runs.list_runs() == ["zebra", "20260102-030405-aaaa", "able"]
    # A damaged one counts by when it was written; what is no run of shoal's is none of its business.
    (tmp_path / "runs" / "able" / "run.json").write_text("{")
    for name in ("No Run", "empty"):
        (tmp_path / "runs" / name).mkdir()
    (tmp_path / "runs" / "No Run" / "run.json").write_text("{}")
    assert runs.list_runs() == ["zebra", "20260102-030405-aaaa", "able"]


def test_complete_wants_every_node_finished_and_home() -> None:
    home = Fetched(files=1, size_bytes=1, verified_at=NOW)
    done, not_home = NodeRecord(outcome=Outcome.FINISHED, fetched=home), NodeRecord(outcome=Outcome.FINISHED)
    assert record(a=done).complete
    assert not record(a=done, b=not_home).complete
    faulty = NodeRecord(outcome=Outcome.FAULTY_VIDEOS, fetched=home)
    assert not record(a=done, b=faulty).complete
    assert record(a=done, b=faulty).missing == []
    assert record(a=done, b=NodeRecord(), c=NodeRecord(outcome=Outcome.TIMED_OUT)).missing == ["b", "c"]


def test_a_missing_run_lists_the_latest() -> None:
    runs.save(record())
    with pytest.raises(UsageError, match="no run 'r2'") as caught:
        runs.load("r2")
    assert "r1" in str(caught.value)


@pytest.mark.parametrize("text", ["{", '{"run": 3}', "[]"])
def test_a_damaged_record_is_named(text: str) -> None:
    path = runs.record_path("r1")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        runs.load("r1")
    assert str(path) in caught.value.message
