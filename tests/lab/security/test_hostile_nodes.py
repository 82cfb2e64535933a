"""Real machines over real SSH: a node that lies, footage that keeps its pictures, old runs that go."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lab_under_test import Lab
from runs_under_test import NODES, QUICK, Runs

from shoal.cluster import document as clusters
from shoal.cluster import reach as reaches
from shoal.cluster.document import Privacy
from shoal.deploys import run as deploys
from shoal.site import document as site

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

HOSTILE, HONEST = NODES


@pytest.fixture(scope="module")
def runs(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """A deployed lab whose second compute node permits no picture."""
    before = clusters.load(lab.document)
    site.prepare(before)
    nodes = [
        node.model_copy(update={"privacy": Privacy(key_frames=0)}) if node.name == HONEST else node
        for node in before.nodes
    ]
    clusters.save(before.model_copy(update={"nodes": tuple(nodes)}), lab.document)
    deploys.run_deploy(reaches.load(lab.document), "site", timeout_s=1200)
    yield Runs(lab, tmp_path_factory.mktemp("runs"))
    clusters.save(before, lab.document)


@pytest.fixture(scope="module")
def whole(runs: Runs) -> str:
    done = runs.shoal("run", "--run", runs.id("open"), "--key-frames", "2", "--no-fetch", *QUICK)
    assert done.returncode == 0, done.stderr
    return "open"


def test_a_second_deploy_leaves_the_policy_as_it_is(runs: Runs) -> None:
    again = deploys.run_deploy(reaches.load(runs.lab.document), "site", timeout_s=900)
    assert [operation.name for operation in again.operations if operation.changed] == []
    assert json.loads(runs.on(HONEST, "cat /videos/.shoal/privacy.json")) == {"version": 1, "key_frames": 0}
    assert "No such file" in runs.on(HOSTILE, "cat /videos/.shoal/privacy.json 2>&1 || true")


def test_a_hostile_manifest_ends_only_its_own_nodes_share(runs: Runs, whole: str) -> None:
    folder = f"/var/lib/shoal/runs/{runs.id(whole)}"
    runs.on(HOSTILE, f"head -c 200000 /dev/zero | tr '\\0' '[' >{folder}/manifest.json")
    done = runs.shoal("results", "fetch", runs.id(whole))
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{HOSTILE}: {HOSTILE}:{folder}/manifest.json cannot be read" in done.stderr
    assert runs.outcomes(whole) == {HOSTILE: "damaged_results", HONEST: "finished"}
    assert (runs.folder(whole) / HONEST / "manifest.json").is_file()
    # The node's own detector mends what is damaged, and nothing is computed twice.
    again = runs.shoal("resume", runs.id(whole))
    assert again.returncode == 0, again.stderr
    assert runs.outcomes(whole) == dict.fromkeys(NODES, "finished")
    assert runs.shoal("results", "verify", runs.id(whole)).returncode == 0


def test_no_picture_leaves_the_machine_that_permits_none(runs: Runs, whole: str) -> None:
    pictures = {node: len(list((runs.folder(whole) / node).rglob("*.jpg"))) for node in NODES}
    assert pictures[HONEST] == 0
    # Beside these there is a picture of each event, which has a clip of its own.
    frames = list((runs.folder(whole) / HOSTILE).rglob("frames/*.jpg"))
    assert 0 < len(frames) <= 2 * 6
    summary = json.loads((runs.folder(whole) / HONEST / "summary.json").read_text())
    assert summary["totals"]["detections"] > 0
    assert summary["settings"]["key_frames"] == 0


def test_no_picture_of_footage_on_which_nothing_was_found(runs: Runs) -> None:
    done = runs.shoal("run", "--run", runs.id("toilet"), "--classes", "toilet", "--conf", "0.99", *QUICK)
    assert done.returncode == 0, done.stderr
    assert list(runs.folder("toilet").rglob("*.jpg")) == []


def test_what_came_home_is_its_users_alone(runs: Runs, whole: str) -> None:
    for path in (runs.folder(whole), *runs.folder(whole).rglob("*")):
        assert path.stat().st_mode & 0o7077 == 0, path


def test_results_that_lead_elsewhere_are_not_sent(runs: Runs, whole: str) -> None:
    done = runs.shoal("run", "--run", runs.id("link"), "--no-fetch", *QUICK)
    assert done.returncode == 0, done.stderr
    folder = f"/var/lib/shoal/runs/{runs.id('link')}"
    runs.on(HOSTILE, f"rm {folder}/settings.json && ln -s /etc/shadow {folder}/settings.json")
    fetched = runs.shoal("results", "fetch", runs.id("link"))
    assert fetched.returncode == 3
    assert "settings.json is missing, or not a plain file" in fetched.stderr
    assert runs.outcomes("link") == {HOSTILE: "damaged_results", HONEST: "finished"}


def test_old_runs_go_from_the_machines_and_from_here(runs: Runs, whole: str) -> None:
    folder = f"/var/lib/shoal/runs/{runs.id(whole)}"
    for node in NODES:
        runs.on(node, f"touch -d '40 days ago' {folder}/manifest.json")
    record = json.loads((runs.folder(whole) / "run.json").read_text())
    old = record | {"created_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:01:00Z"}
    (runs.folder(whole) / "run.json").write_text(json.dumps(old))
    dry = runs.shoal("results", "prune", "--keep-days", "30", "--dry")
    assert dry.returncode == 0, dry.stderr
    assert "here: 1 runs would be removed" in dry.stderr
    done = runs.shoal("results", "prune", "--keep-days", "30")
    assert done.returncode == 0, done.stderr
    for node in NODES:
        assert runs.on(node, f"ls -d {folder} 2>/dev/null || true") == ""
        assert runs.id("link") in runs.on(node, "ls /var/lib/shoal/runs")
    assert not runs.folder(whole).exists()
