"""The deploy files as pyinfra's own command runs them, on fake machines: order over hosts, and refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from role_harness import CLUSTER

from shoal.cluster import document as clusters
from shoal.paths import repository

INVENTORY = """
from contextlib import nullcontext as _null

import pyinfra.api.inventory as _inventory
from pyinfra.connectors.fake import FakeConnector as _Fake
from shoal.deploys import lock as _lock
from shoal.deploys.inventory import hosts as _hosts

# Every host is a fake one, under its own name.
_real = _inventory.get_execution_connectors
_inventory.get_execution_connectors = lambda: {**_real(), "openssh": _Fake}
# Nor is there anything to lock.
_lock.held = lambda *_, **__: _null(_lock.Lock({}))
requester, compute = _hosts("onprem")
for _name, _data in [*requester, *compute]:
    _data.update(fake_delay=0, fake_delay_jitter=0, fake_responses={
        "cat /var/lib/shoal/image.json 2": [__import__("os").environ["FAKE_RECORD"]],
    })
"""


@pytest.fixture
def site(tmp_path):
    """Environment, inventory and a little build context for a site of three fake machines."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n", encoding="utf-8")
    clusters.save(CLUSTER, tmp_path / "cluster.json")
    (tmp_path / "site.json").write_text(json.dumps({"cluster": "depot"}), encoding="utf-8")
    (tmp_path / "fake.py").write_text(INVENTORY, encoding="utf-8")
    from roles.yolov5.context import context_hash

    record = {"context": context_hash(folder), "reference": "192.0.2.10:5000/x@sha256:1", "digest": "sha256:1"}
    environment = {
        **os.environ,
        "SHOAL_CLUSTER": str(tmp_path / "cluster.json"),
        "SHOAL_SITE": str(tmp_path / "site.json"),
        "SHOAL_STATE": str(tmp_path / "state"),
        "SHOAL_CACHE": str(tmp_path / "cache"),
        "FAKE_RECORD": json.dumps(record),
    }

    def run(deploy, *words, **changes):
        command = [sys.executable, "-m", "pyinfra", str(tmp_path / "fake.py"), f"deploy/{deploy}.py", "-y", "--json"]
        return subprocess.run(
            [*command, "--data", f"yolov5_context={folder}", *words],
            cwd=repository(), env={**environment, **changes}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_site_runs_requester_and_compute_in_the_right_order(site):
    done = site("site")
    assert done.returncode == 0, done.stderr
    names = [entry["name"] for entry in json.loads(done.stdout)["results"]["operations"]]
    by_name = {entry["name"]: entry for entry in json.loads(done.stdout)["results"]["operations"]}
    assert names.index("yolov5 | Push it to the site's registry") < names.index("yolov5 | Pull the image by its digest")
    assert by_name["yolov5 | Pull the image by its digest"]["success"] == ["gate-1", "gate-2"]
    assert by_name["registry | Install the registry"]["success"] == ["office"]
    assert by_name["videos | Make the videos folder"]["success"] == ["gate-1", "gate-2"]
    assert by_name["base | Install the packages"]["hosts"] == 3
    assert all(name.partition(" | ")[2] for name in names)


@pytest.mark.parametrize("services", [False, True])
def test_a_site_with_a_mesh_says_when_its_services_are_in_the_open(site, tmp_path, services):
    clusters.save(CLUSTER.model_copy(update={"mesh": "tailscale"}), tmp_path / "cluster.json")
    done = site("site", "--dry", "--data", f"shoal_mesh_services={json.dumps(services)}")
    assert done.returncode == 0, done.stderr
    assert ("open at the first addresses" in done.stderr) is not services
    assert ("firewall | Let nothing in but SSH and the mesh" in done.stdout) is services


def test_site_on_one_compute_node_asks_the_requester_all_the_same(site):
    done = site("site", "--limit", "gate-2")
    assert done.returncode == 0, done.stderr
    by_name = {entry["name"]: entry for entry in json.loads(done.stdout)["results"]["operations"]}
    assert by_name["yolov5 | Pull the image by its digest"]["success"] == ["gate-2"]
    assert by_name["base | Install the packages"]["hosts"] == 1


@pytest.mark.parametrize(
    "words", [("--limit", "nosuch"), ("--limit", "gate-1", "--limit", "nosuch"), ("--exclude", "*")]
)
def test_a_host_set_that_is_empty_is_an_error(site, words):
    done = site("site", *words)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "hosts: gate-1, gate-2, office" in done.stderr


def test_a_job_for_no_compute_node_is_an_error_and_not_a_silent_success(site):
    done = site("infer", "--limit", "requester")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "leaves no compute node, only office" in done.stderr


@pytest.mark.parametrize(
    ("options", "told"), [('"--conf"', "must be a JSON list of words"), ('["--stride","0"]', "ended with exit code 2")]
)
def test_a_job_that_is_refused_fails_the_deploy(site, options, told):
    done = site("infer", "--data", f"infer_options={options}")
    assert done.returncode != 0
    assert told in done.stderr


def test_all_faults_are_told_before_the_first_change(site, tmp_path):
    missing = {"name": "a.mp4", "path": str(tmp_path / "none"), "sha256": "0" * 64, "size_bytes": 1}
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"cluster": "depot", "videos": {"gate-2": [missing]}}), encoding="utf-8")
    done = site("site", "--data", "base_time=sundial", "--data", "registry_port=0", SHOAL_SITE=str(other))
    assert done.returncode != 0
    for words in ("office: base_time", "gate-1: base_time", "office: registry_port", "gate-2: videos_files[0]"):
        assert words in done.stderr
    assert "Starting operation" not in done.stderr


def test_without_a_site_document_nothing_is_begun(site, tmp_path):
    done = site("site", SHOAL_SITE=str(tmp_path / "none.json"))
    assert done.returncode != 0
    assert "shoal site prepare" in done.stderr
    assert "Starting operation" not in done.stderr


def test_a_faulty_cluster_document_is_told_without_a_traceback(site, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"version": 1, "name": "X", "nodes": [{"name": "a", "roles": ["requester"]}]}', encoding="utf-8")
    done = site("site", SHOAL_CLUSTER=str(bad))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "no node has the role 'compute'" in done.stderr


def test_teardown_runs_on_all(site):
    done = site("teardown")
    assert done.returncode == 0, done.stderr
    names = [entry["name"] for entry in json.loads(done.stdout)["results"]["operations"]]
    assert names.index("yolov5 | Remove the image") < names.index("docker | Remove the engine, if it is ours")
    assert names[-1] == "base | Remove the state"
    kept = site("teardown", "--data", "teardown_docker=false")
    assert not any("docker |" in entry["name"] for entry in json.loads(kept.stdout)["results"]["operations"])
