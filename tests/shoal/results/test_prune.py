"""Old runs removed on nodes and here; never the only copy, never what is at work, never what is not a run's."""

from __future__ import annotations

import fcntl
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_nodes import FakeNodes
from typer.testing import CliRunner

from shoal.cli import app
from shoal.errors import UsageError
from shoal.results import record as runs
from shoal.results.prune import _listed, prune
from shoal.results.record import Fetched, Image, NodeRecord, Outcome, RunRecord, Weights
from shoal.untrusted import DamagedDocumentError

DAY_S = 86_400


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    return FakeNodes.make(tmp_path, monkeypatch)


def on_node(nodes: FakeNodes, node: str, run: str, *, days: float, done: bool = True) -> Path:
    folder = nodes.path(node, "/var/lib/shoal/runs") / run
    (folder / "videos").mkdir(parents=True)
    (folder / "videos" / "x").write_bytes(b"x" * 1000)
    (folder / "lock").touch()
    if done:
        (folder / "manifest.json").write_text("{}")
    moment = time.time() - days * DAY_S
    for path in (folder / "manifest.json", folder):
        if path.exists():
            os.utime(path, (moment, moment))
    return folder


def here(run: str, *, days: float, fetched: tuple[str, ...] = ("c1", "c2"), cluster: str = "test") -> Path:
    moment = datetime.now(UTC) - timedelta(days=days)
    home = Fetched(files=1, size_bytes=1, verified_at=moment)
    record = RunRecord(
        run=run,
        created_at=moment,
        finished_at=moment,
        cluster=cluster,
        substrate="onprem",
        engine="ssh",
        image=Image(reference="x"),
        weights=Weights(name="m", sha256="0" * 64),
        nodes={
            name: NodeRecord(outcome=Outcome.FINISHED, fetched=home if name in fetched else None)
            for name in ("c1", "c2")
        },
    )
    runs.save(record)
    return runs.run_dir(run)


def test_old_runs_that_are_home_go_everywhere_and_young_ones_stay(nodes: FakeNodes) -> None:
    old = [on_node(nodes, name, "old", days=40) for name in ("c1", "c2")]
    young = on_node(nodes, "c1", "young", days=5)
    old_here, young_here = here("old", days=40), here("young", days=5)
    result = prune(nodes.cluster, 30)
    assert not any(folder.exists() for folder in old)
    assert not old_here.exists()
    assert young.exists()
    assert young_here.exists()
    assert result.here == ["old"]
    assert {name: [one.run for one in gone] for name, gone in result.on_nodes.items()} == {"c1": ["old"], "c2": ["old"]}
    assert result.on_nodes["c1"][0].size_bytes > 1000
    assert not list(old[0].parent.glob(".pruned*"))


def test_dry_removes_nothing(nodes: FakeNodes) -> None:
    folder = on_node(nodes, "c1", "old", days=40)
    at_home = here("old", days=40)
    result = prune(nodes.cluster, 30, dry=True)
    assert folder.exists()
    assert at_home.exists()
    assert (len(result.on_nodes["c1"]), result.here) == (1, ["old"])


def test_the_only_copy_stays_unless_it_is_asked_for(nodes: FakeNodes) -> None:
    unfetched = on_node(nodes, "c1", "half", days=40)
    stranger = on_node(nodes, "c1", "others", days=40)
    unfinished = on_node(nodes, "c2", "half", days=40, done=False)
    at_home = here("half", days=40, fetched=("c2",))
    result = prune(nodes.cluster, 30)
    assert all(folder.exists() for folder in (unfetched, stranger, unfinished, at_home))
    assert {fault.where for fault in result.kept} == {"c1:half", "c1:others", "c2:half", "half"}
    prune(nodes.cluster, 30, unfetched=True)
    assert not any(folder.exists() for folder in (unfetched, stranger, unfinished, at_home))


def test_what_a_detector_works_on_stays(nodes: FakeNodes) -> None:
    folder = on_node(nodes, "c1", "busy", days=40, done=False)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = prune(nodes.cluster, 30, unfetched=True)
    assert folder.exists()
    assert [fault.what for fault in result.kept] == ["is being worked on"]


def test_what_is_no_run_is_not_touched(nodes: FakeNodes, tmp_path: Path) -> None:
    place = nodes.path("c1", "/var/lib/shoal/runs")
    on_node(nodes, "c1", "old", days=40)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (place / "link").symlink_to(tmp_path / "elsewhere")
    (place / "UPPER case").mkdir()
    (place / "a file").touch()
    prune(nodes.cluster, 1, unfetched=True)
    assert {path.name for path in place.iterdir()} == {"link", "UPPER case", "a file"}
    assert (tmp_path / "elsewhere" / "kept").exists()


def test_the_copy_here_waits_for_a_node_that_is_away(nodes: FakeNodes) -> None:
    folder = on_node(nodes, "c1", "old", days=40)
    at_home = here("old", days=40)
    nodes.down("c2")
    result = prune(nodes.cluster, 30)
    assert not folder.exists()
    assert at_home.exists()
    assert [fault.where for fault in result.faults] == ["c2"]
    nodes.up("c2")
    prune(nodes.cluster, 30)
    assert not at_home.exists()


def test_another_clusters_runs_stay(nodes: FakeNodes) -> None:
    at_home = here("others", days=40, cluster="other")
    assert prune(nodes.cluster, 30).here == []
    assert at_home.exists()


def test_less_than_a_day_is_refused(nodes: FakeNodes) -> None:
    with pytest.raises(UsageError):
        prune(nodes.cluster, 0)


@pytest.mark.parametrize(
    "line", ["r1", "r1 x 5 done free", "r1 5 5 gone free", "r1 5 -5 done free", "r1 5 5 done free x"]
)
def test_a_nodes_word_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(DamagedDocumentError):
        _listed(line)
    assert _listed("../etc 5 5 done free") is None


def test_the_verb_takes_the_clusters_own_number_of_days(nodes: FakeNodes, tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(nodes.cluster.model_dump_json())
    folder = on_node(nodes, "c1", "old", days=40)
    here("old", days=40)
    refused = CliRunner().invoke(app, ["results", "prune", "--cluster", str(path)])
    assert isinstance(refused.exception, UsageError)
    path.write_text(nodes.cluster.model_copy(update={"results_keep_days": 30}).model_dump_json())
    done = CliRunner().invoke(app, ["results", "prune", "--cluster", str(path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["here"] == ["old"]
    assert not folder.exists()
