"""`shoal drift lab` on real machines: clean after a deploy, and every change by hand is seen."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from lab_under_test import Lab

from shoal.cluster import document as clusters
from shoal.cluster import reach as reaches
from shoal.deploys.run import run_deploy
from shoal.lab import state
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.lab.up import up
from shoal.lifecycle import drift
from shoal.paths import cache_dir, cluster_document
from shoal.ssh import client as ssh
from shoal.telling import to_stderr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def lab(lab_environment: None) -> Iterator[Lab]:
    """A lab of its own: it gets a node more, and a site that other tests would not know."""
    name = os.environ.get("SHOAL_TEST_LAB", "test") + "-drift"
    down(name)
    cluster = up(LabSpec(name=name, compute=2))
    facts = state.load_facts(name)
    assert facts is not None
    yield Lab(name, cluster, cluster_document(name), facts)
    assert down(name).clean


@pytest.fixture(scope="module")
def converged(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab with its site deployed: a clip a node, and a stand-in for a model."""
    folder = tmp_path_factory.mktemp("drift")

    def file(name: str, content: bytes) -> dict[str, Any]:
        path = folder / name
        path.write_bytes(content)
        return {"path": str(path), "sha256": hashlib.sha256(content).hexdigest()}

    clips = {
        node.name: [{"name": "a.mp4", "size_bytes": 1000, **file(f"{node.name}.mp4", node.name[:1].encode() * 1000)}]
        for node in lab.cluster.compute
    }
    weights = [{"name": "stand-in", **file("model.onnx", b"not a model" * 1000)}]
    site: dict[str, Any] = {"cluster": lab.cluster.name, "videos": clips, "weights": weights}
    images = cache_dir() / "images"
    if archives := sorted(images.glob("base-*.tar")):
        site["image"] = {"base_tarball": str(archives[-1])}
    document = folder / "site.json"
    document.write_text(json.dumps(site))
    patch = pytest.MonkeyPatch()
    patch.setenv("SHOAL_SITE", str(document))
    run_deploy(reaches.load(lab.document), "site", say=to_stderr)
    yield lab
    patch.undo()


def command(lab: Lab) -> tuple[int, dict[str, Any]]:
    """`shoal drift lab --json` as a script would call it."""
    done = subprocess.run(
        [sys.executable, "-m", "shoal", "drift", "lab", "--stack", lab.name, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {"stderr": done.stderr}


def test_clean_then_an_edited_file_and_a_stopped_service(converged: Lab) -> None:
    assert command(converged) == (0, {"schema_version": 1, "clean": True, "drift": []})

    edited, stopped = converged.cluster.compute
    ssh.run(converged.cluster, edited, "sh", "-c", "echo >>/etc/docker/daemon.json", root=True)
    ssh.run(converged.cluster, stopped, "systemctl", "stop", "docker.service", "docker.socket", root=True)
    code, told = command(converged)
    assert code == drift.DRIFTED, told
    where = {(entry["half"], entry["where"]) for entry in told["drift"]}
    assert where == {("insides", edited.name), ("insides", stopped.name)}
    assert any("docker" in entry["what"] for entry in told["drift"] if entry["where"] == edited.name)
    assert any("docker" in entry["what"] for entry in told["drift"] if entry["where"] == stopped.name)

    # A drift shown is not a drift mended: asked again, it says the same. A deploy mends it.
    assert command(converged) == (code, told)
    run_deploy(reaches.load(converged.document), "site", say=to_stderr)
    assert command(converged)[0] == 0


def test_a_node_that_was_added_and_one_that_does_not_answer(converged: Lab) -> None:
    bigger = up(LabSpec(name=converged.name, compute=len(converged.cluster.compute) + 1))
    (added,) = {node.name for node in bigger.nodes} - {node.name for node in converged.cluster.nodes}
    code, told = command(converged)
    assert code == drift.DRIFTED, told
    assert {entry["where"] for entry in told["drift"]} >= {added}
    assert {entry["where"] for entry in told["drift"]} <= {added, bigger.requester.name}

    # A node that is not where the document says: an error that names it, and no verdict.
    lost = [node.model_copy(update={"port": 1}) if node.name == added else node for node in bigger.nodes]
    clusters.save(bigger.model_copy(update={"nodes": tuple(lost)}), converged.document)
    try:
        code, told = command(converged)
        assert code == 1
        assert added in told["stderr"]
    finally:
        clusters.save(bigger, converged.document)
