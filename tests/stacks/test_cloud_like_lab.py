"""The document that the gcp stack exports, through inventories/gcp.py and deploy/site.py: as in the lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shoal.cluster import document as clusters
from shoal.cluster import overlay
from shoal.cluster.overlay import Moved, Overlay
from shoal.paths import cluster_document, repository
from stacks.gcp.program import program
from tests.stacks.recorded import run

INVENTORY = """
import os as _os
import runpy as _runpy
from contextlib import nullcontext as _null

import pyinfra.api.inventory as _inventory
from pyinfra.connectors.fake import FakeConnector as _Fake
from shoal.deploys import lock as _lock

# Every host is a fake one, under its own name.
_real = _inventory.get_execution_connectors
_inventory.get_execution_connectors = lambda: {**_real(), "openssh": _Fake}
# Nor is there anything to lock.
_lock.held = lambda *_, **__: _null(_lock.Lock({}))
_own = _runpy.run_path(_os.environ["INVENTORY"])
requester, compute = _own["requester"], _own["compute"]
for _name, _data in [*requester, *compute]:
    _data.update(fake_delay=0, fake_delay_jitter=0, fake_responses={
        "cat /var/lib/shoal/image.json 2": [_os.environ["FAKE_RECORD"]],
    })
"""
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJU136SYwf17CU3UkTaTRtG6SuU++OVecVOm8mt3U3Tj"
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
            "name": "lab",
            "substrate": "lab",
            "ssh": clusters.SshAccess(),
            "nodes": tuple(
                node.model_copy(update={"address": f"198.51.100.{number}", "user": "root", "labels": {}, "spot": False})
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
    assert [name for name, _ in found["compute"]] == ["@openssh/gcp-compute-1", "@openssh/gcp-compute-2"]
    for _, data in [*found["requester"], *found["compute"]]:
        assert data["ssh_strict_host_key_checking"] == "yes"
        assert data["ssh_known_hosts_file"] == str(known_hosts)
        assert "start-iap-tunnel" in data["ssh_proxy_command"]
        assert data["_sudo"] is True


def test_machines_on_the_mesh_are_reached_there_with_the_same_host_keys_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mesh: tailscale` in the stack's settings; one machine has moved, one has not, then all go back."""
    import runpy

    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("SHOAL_CLUSTER", raising=False)
    outputs = run(program, "shoal-gcp", {**SETTINGS, "mesh": "tailscale"}, stack_name="gcp").outputs
    document = clusters.parse(outputs["cluster"], source="output")
    assert document.mesh == "tailscale"
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text("".join(f"{node.address} {HOST_KEY}\n" for node in document.nodes))
    local = document.ssh.model_copy(update={"known_hosts_file": known_hosts})
    clusters.save(document.model_copy(update={"ssh": local}), cluster_document("gcp"))
    moved, left = document.compute
    there = Moved(
        first_address=moved.address,
        address="gcp-compute-1.tail1234.ts.net",
        peer_address="100.64.0.7",
        host_keys=(HOST_KEY,),
    )
    note = Overlay(cluster="gcp", nodes={moved.name: there})
    overlay.save(note)

    def ways() -> dict[str, tuple[str, str | None]]:
        found = runpy.run_path("inventories/gcp.py")
        entries = dict([*found["requester"], *found["compute"]])
        assert {data["ssh_strict_host_key_checking"] for data in entries.values()} == {"yes"}
        told = {}
        for name, data in entries.items():
            host = data["ssh_hostname"]
            keys = subprocess.run(
                ["ssh-keygen", "-F", host, "-f", data["ssh_known_hosts_file"]],
                capture_output=True,
                text=True,
                check=True,
            )
            assert HOST_KEY in keys.stdout
            told[name.removeprefix("@openssh/")] = (host, data.get("ssh_proxy_command"))
        return told

    host, proxy = ways()[moved.name]
    assert (host, proxy) == ("gcp-compute-1.tail1234.ts.net", None)
    host, proxy = ways()[left.name]
    assert host == left.address
    assert "start-iap-tunnel" in str(proxy)

    # A control machine whose own daemon has no network device gets onto the mesh by a command.
    overlay.save(note.model_copy(update={"proxy_command": "tailscale nc %h %p"}))
    assert ways()[moved.name][1] == "tailscale nc %h %p"
    assert "start-iap-tunnel" in str(ways()[left.name][1])

    # Back: everything through the proxy again, whatever the mesh does.
    overlay.save(note.model_copy(update={"nodes": {}, "wanted": False}))
    assert {name: entry[0] for name, entry in ways().items()} == {node.name: node.address for node in document.nodes}
    assert all("start-iap-tunnel" in str(entry[1]) for entry in ways().values())
