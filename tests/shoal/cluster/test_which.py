"""Which cluster a command is about: one decision for verbs, recipes and inventories, told first; no shared names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.cluster import document as clusters
from shoal.cluster import owners, which
from shoal.cluster.document import Cluster, Node
from shoal.errors import UsageError
from shoal.lab.spec import LabSpec
from shoal.lab.up import up
from shoal.paths import cluster_document, repository

VARIABLES = ("SHOAL_CLUSTER", "SHOAL_LAB", "SHOAL_ONPREM", "SHOAL_SITE", "SHOAL_SUBSTRATE")
PLANT = """[cluster]
name = "{name}"
engine = "ssh"
[[node]]
name = "office"
roles = ["requester", "compute"]
address = "{address}"
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def made(name: str, substrate: str = "lab", address: str = "192.0.2.10") -> Cluster:
    node = {"name": f"of-{name}", "roles": ["requester", "compute"], "address": address}
    return clusters.parse({"name": name, "substrate": substrate, "nodes": [node]}, source="test")


def kept(name: str, substrate: str = "lab", address: str = "192.0.2.10") -> Path:
    clusters.save(made(name, substrate, address), cluster_document(name))
    return cluster_document(name)


def plant(folder: Path, name: str = "plant", address: str = "192.0.2.77") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "onprem.toml"
    path.write_text(PLANT.format(name=name, address=address), encoding="utf-8")
    return path


def shoal(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shoal", *words],
        env={**os.environ, "PYTHONPATH": str(repository()), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "substrate", "expected"),
    [
        ({}, None, "lab"),
        ({"SHOAL_LAB": "eng"}, None, "eng"),
        ({"SHOAL_LAB": "eng"}, "lab", "eng"),
        ({"SHOAL_LAB": ""}, "lab", "lab"),
        ({"SHOAL_LAB": "eng"}, "gcp", "gcp"),
        ({"SHOAL_LAB": "eng"}, "edge", "edge"),
    ],
)
def test_the_document_of_a_command(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], substrate: clusters.Substrate | None, expected: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert which.choose(substrate=substrate).path == cluster_document(expected)


def test_what_is_typed_goes_before_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOAL_CLUSTER", str(tmp_path / "c.json"))
    monkeypatch.setenv("SHOAL_LAB", "eng")
    assert which.choose().path == tmp_path / "c.json"
    assert which.choose(tmp_path / "d.json").path == tmp_path / "d.json"
    assert which.choose(substrate="lab", named=("other", "--stack")).path == cluster_document("other")
    monkeypatch.delenv("SHOAL_CLUSTER")
    monkeypatch.setenv("SHOAL_ONPREM", str(tmp_path / "sites.toml"))
    assert which.choose(substrate="onprem").path == tmp_path / "sites.toml"


@pytest.mark.parametrize(
    "words",
    [
        ("drift", "lab"),
        ("nodes", "list"),
        ("run", "--engine", "ssh", "--weights", "0" * 64),
        ("cluster", "where"),
        ("lab", "status"),
    ],
)
def test_every_verb_tells_first_which_cluster_it_is_about(words: tuple[str, ...]) -> None:
    for name in ("lab", "eng"):
        kept(name)
    # Without programs to reach a machine with, every verb ends soon after its first line.
    done = shoal(*words, SHOAL_LAB="eng", PATH="/nonexistent")
    first = done.stderr.splitlines()[0]
    assert first.startswith(("cluster 'eng' (lab, 1 machine): ", "lab 'eng'")), done.stderr
    assert first.endswith("from SHOAL_LAB")
    assert "clusters/lab.json" not in done.stderr + done.stdout


def test_the_labs_inventory_is_that_of_the_lab_that_is_named() -> None:
    for name in ("lab", "eng"):
        kept(name)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("pyinfra")), "inventories/lab.py", "debug-inventory"],
        cwd=repository(),
        env={**os.environ, "SHOAL_LAB": "eng"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cluster 'eng' (lab, 1 machine)" in done.stderr
    assert "of-eng" in done.stdout + done.stderr
    assert "of-lab" not in done.stdout + done.stderr


def test_verify_checks_the_lab_that_is_named_and_says_so_first() -> None:
    for name in ("lab", "eng"):
        kept(name)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/live", "-m", "live", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=repository(),
        env={**os.environ, "SHOAL_LAB": "eng", "SHOAL_SUBSTRATE": "lab"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith("cluster 'eng' (lab, 1 machine)"), done.stderr
    assert "[of-eng]" in done.stdout
    assert "of-lab" not in done.stdout


def test_every_verb_takes_its_document_from_the_one_door() -> None:
    for path in (repository() / "shoal/cli").glob("*.py"):
        if path.name != "options.py":
            text = path.read_text(encoding="utf-8")
            doors = text.count("cluster_of(cluster") + text.count(" reach(cluster")
            doors += text.count("        reach(cluster") + text.count("(reach(cluster")
            assert text.count("cluster: ClusterPath") <= doors, path
            assert 'SHOAL_LAB"' not in text, path


def test_no_recipe_names_a_document_by_itself() -> None:
    recipes = (repository() / "Justfile").read_text(encoding="utf-8")
    assert "clusters/" not in recipes
    assert "SHOAL_LAB" not in recipes


def test_a_cluster_of_another_substrate_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOAL_CLUSTER", str(plant(tmp_path / "plant")))
    done = shoal("drift", "lab")
    assert done.returncode == 1  # of `drift`, 2 is drift
    assert "the command is about lab, and SHOAL_CLUSTER names a cluster of onprem: 'plant'" in done.stderr


@pytest.mark.parametrize("name", ["lab", "gcp", "edge"])
def test_an_onprem_cluster_may_not_have_a_substrates_name(tmp_path: Path, name: str) -> None:
    path = plant(tmp_path / "site", name=name)
    done = shoal("cluster", "validate", str(path))
    assert done.returncode == 2
    assert f"cluster.name: '{name}' is kept for the cluster of that substrate" in done.stderr
    done = shoal("cluster", "init", "--name", name, "--requester", "a@192.0.2.1", "--compute", "a@192.0.2.2")
    assert done.returncode == 2
    assert not (tmp_path / "onprem.toml").exists()


def test_two_clusters_of_one_name_are_refused_both_ways(tmp_path: Path) -> None:
    kept("eng")
    onprem = plant(tmp_path / "plant", name="eng")
    done = shoal("nodes", "list", "--cluster", str(onprem))
    assert done.returncode == 2
    assert "another one has that name" in done.stderr

    cluster_document("eng").unlink()
    which.opened(which.choose(onprem), claim=True)
    with pytest.raises(UsageError, match=r"onprem has the name 'eng' already.*onprem\.toml"):
        up(LabSpec(name="eng"))
    other = plant(tmp_path / "other", name="eng", address="192.0.2.99")
    with pytest.raises(UsageError, match="another one has that name"):
        which.opened(which.choose(other))
    # The same machines in a file that was moved are the same cluster.
    moved = plant(tmp_path / "moved", name="eng")
    which.opened(which.choose(moved), claim=True)
    assert owners.document_of("eng") == moved


def test_a_run_is_taken_up_on_its_own_cluster(tmp_path: Path) -> None:
    kept("lab")
    onprem = plant(tmp_path / "plant")
    which.opened(which.choose(onprem), claim=True)
    assert which.choose(run_of="plant").path == onprem
    with pytest.raises(UsageError, match="the run belongs to cluster 'plant', this is 'lab'"):
        which.opened(which.choose(cluster_document("lab"), run_of="plant"))


def test_a_verb_that_only_looks_claims_no_name(tmp_path: Path) -> None:
    onprem = plant(tmp_path / "plant")
    shoal("nodes", "list", "--cluster", str(onprem), PATH="/nonexistent")
    assert owners.document_of("plant") is None
    shoal("run", "--engine", "ssh", "--weights", "0" * 64, "--cluster", str(onprem), PATH="/nonexistent")
    assert owners.document_of("plant") == onprem


def test_a_labs_own_document_may_come_back_with_other_addresses(tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    clusters.save(made("eng"), copy)
    which.opened(which.choose(copy), claim=True)
    path = kept("eng", address="198.51.100.1")
    assert which.opened(which.choose(path)).nodes == (
        Node(name="of-eng", roles=("requester", "compute"), address="198.51.100.1"),
    )


def test_a_damaged_note_is_told(tmp_path: Path) -> None:
    onprem = plant(tmp_path / "plant")
    owners.note_path("plant").parent.mkdir(parents=True)
    owners.note_path("plant").write_text(json.dumps({"cluster": 1}), encoding="utf-8")
    with pytest.raises(UsageError, match="is not valid"):
        which.opened(which.choose(onprem))
