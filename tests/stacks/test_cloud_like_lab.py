"""The document that the gcp stack exports, through inventories/gcp.py and deploy/site.py: as in the lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shoal import cluster as clusters
from shoal.paths import repository
from stacks.gcp.program import program
from tests.stacks.recorded import run

INVENTORY = """
import os as _os
import runpy as _runpy
import pyinfra.api.inventory as _inventory
from pyinfra.connectors.fake import FakeConnector as _Fake

# Every host is a fake one, under its own name.
_real = _inventory.get_execution_connectors
_inventory.get_execution_connectors = lambda: {**_real(), "ssh": _Fake}
_own = _runpy.run_path(_os.environ["INVENTORY"])
requester, compute = _own["requester"], _own["compute"]
for _name, _data in [*requester, *compute]:
    _data.update(fake_delay=0, fake_delay_jitter=0, fake_responses={
        "cat /var/lib/shoal/image.json 2": [_os.environ["FAKE_RECORD"]],
    })
"""
SETTINGS = {
    "gcp:project": "my-project-1",
    "sshUser": "ops_example_com",
    "expiresAt": "2099-01-02T03:04:05Z",
    "compute": {"count": 2},
}


def exported() -> clusters.Cluster:
    """What the gcp stack exports."""
    return clusters.parse(run(program, "shoal-gcp", SETTINGS, stack_name="gcp").outputs["cluster"], source="output")


def operations(tmp_path: Path, cluster: clusters.Cluster) -> dict[str, dict[str, Any]]:
    """Operations of the site's deploy on `cluster`, on fresh fake machines: name -> hosts that it changes."""
    from roles.yolov5.context import context_hash

    work = tmp_path / cluster.substrate
    context = work / "context"
    context.mkdir(parents=True)
    (context / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n", encoding="utf-8")
    clusters.save(cluster, work / "cluster.json")
    (work / "site.json").write_text(json.dumps({"cluster": cluster.name}), encoding="utf-8")
    (work / "fake.py").write_text(INVENTORY, encoding="utf-8")
    record = {"context": context_hash(context), "reference": "192.0.2.10:5000/x@sha256:1", "digest": "sha256:1"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pyinfra", str(work / "fake.py"), "deploy/site.py", "-y", "--json"),
            *("--data", f"yolov5_context={context}"),
        ],
        cwd=repository(),
        env={
            **os.environ,
            "SHOAL_CLUSTER": str(work / "cluster.json"),
            "SHOAL_SITE": str(work / "site.json"),
            "SHOAL_STATE": str(work / "state"),
            "INVENTORY": f"inventories/{cluster.substrate}.py",
            "FAKE_RECORD": json.dumps(record),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["results"]["operations"]
    return {entry["name"]: {"changed": sorted(entry["success"]), "same": sorted(entry["no_change"])} for entry in found}


def test_a_cloud_cluster_sees_the_labs_operations(tmp_path: Path) -> None:
    cloud = exported()
    lab = cloud.model_copy(
        update={
            "substrate": "lab",
            "ssh": clusters.SshAccess(),
            "nodes": tuple(
                node.model_copy(update={"address": f"127.0.0.{number}", "user": "root", "labels": {}, "spot": False})
                for number, node in enumerate(cloud.nodes, start=1)
            ),
        }
    )
    in_cloud, in_lab = operations(tmp_path, cloud), operations(tmp_path, lab)
    # The lab's own, its resolver and MTU for inner engines, come from the lab's facts and not from the document.
    assert in_cloud == in_lab
    assert list(in_cloud) == list(in_lab)
    assert len(in_cloud) > 20


def test_the_inventory_goes_through_the_proxy_with_strict_host_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import runpy

    monkeypatch.setenv("SHOAL_CLUSTER", str(tmp_path / "cluster.json"))
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    known_hosts = tmp_path / "known_hosts"
    document = exported()
    local = document.ssh.model_copy(update={"known_hosts_file": known_hosts})
    clusters.save(document.model_copy(update={"ssh": local}), tmp_path / "cluster.json")
    found = runpy.run_path("inventories/gcp.py")
    assert [name for name, _ in found["compute"]] == ["gcp-compute-1", "gcp-compute-2"]
    for _, data in [*found["requester"], *found["compute"]]:
        assert data["ssh_strict_host_key_checking"] == "yes"
        assert data["ssh_known_hosts_file"] == str(known_hosts)
        assert "start-iap-tunnel" in Path(data["ssh_config_file"]).read_text()
        assert data["_sudo"] is True
