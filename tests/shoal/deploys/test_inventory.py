"""From the cluster document to hosts: data, groups, limits."""

from __future__ import annotations

import json

import pytest

from shoal.cluster import document as clusters
from shoal.cluster.document import Cluster, Node, SshAccess
from shoal.deploys import inventory
from shoal.errors import UsageError
from shoal.files import sha256_file
from shoal.lab import state as lab_state


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    for name in ("SHOAL_CLUSTER", "SHOAL_LAB", "SHOAL_SITE", "SHOAL_ONPREM"):
        monkeypatch.delenv(name, raising=False)


def cluster(**changes) -> Cluster:
    values = {
        "name": "depot",
        "substrate": "onprem",
        "nodes": (
            Node(name="office", roles=("requester", "compute"), address="192.0.2.10"),
            Node(name="gate-1", roles=("compute",), address="192.0.2.21", user="ops", port=2222),
        ),
    }
    return Cluster(**(values | changes))


def test_hosts_and_groups():
    requester, compute = inventory.groups(cluster())
    assert [name for name, _ in requester] == ["office"]
    assert [name for name, _ in compute] == ["office", "gate-1"]
    data = dict(compute)["gate-1"]
    assert (data["ssh_hostname"], data["ssh_port"], data["ssh_user"]) == ("192.0.2.21", 2222, "ops")
    assert data["ssh_strict_host_key_checking"] == "yes"
    assert data["_sudo"] is True
    assert dict(requester)["office"]["_sudo"] is False
    assert Node.model_validate(data["shoal_node"]).name == "gate-1"
    assert Cluster.model_validate(data["shoal_cluster"]) == cluster()
    assert data["shoal_site"] is None
    json.dumps(data)


def test_ssh_data(tmp_path):
    ssh = SshAccess(
        identity_file=tmp_path / "key", known_hosts_file=tmp_path / "hosts", config_file=tmp_path / "config"
    )
    data = dict(inventory.groups(cluster(ssh=ssh))[1])["gate-1"]
    assert data["ssh_key"] == str(tmp_path / "key")
    assert data["ssh_known_hosts_file"] == str(tmp_path / "hosts")
    assert data["ssh_config_file"] == str(tmp_path / "config")


def test_the_sites_clips_and_model(tmp_path, monkeypatch):
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"x")
    site = {
        "cluster": "depot",
        "videos": {"gate-1": [{"name": "a.mp4", "path": str(clip), "sha256": sha256_file(clip), "size_bytes": 1}]},
        "weights": [{"path": str(clip), "sha256": "0" * 64, "name": "w"}],
        "image": {"base_tarball": str(clip)},
    }
    path = tmp_path / "site.json"
    path.write_text(json.dumps(site), encoding="utf-8")
    monkeypatch.setenv("SHOAL_SITE", str(path))
    compute = dict(inventory.groups(cluster())[1])
    assert compute["gate-1"]["videos_files"][0]["name"] == "a.mp4"
    assert compute["office"]["videos_files"] == []
    assert compute["office"]["yolov5_weights"][0]["name"] == "w"
    assert compute["office"]["yolov5_base_tarball"] == str(clip)
    assert "yolov5_image_tarball" not in compute["office"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "cannot be read"), ('{"cluster": 1, "x": 2}', "not a valid"), ('{"cluster": "other"}', "belongs to")],
)
def test_a_faulty_site_document_is_told(tmp_path, monkeypatch, text, words):
    path = tmp_path / "site.json"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("SHOAL_SITE", str(path))
    with pytest.raises(UsageError, match=words):
        inventory.groups(cluster())


def test_the_labs_name_servers_and_mtu():
    lab_state.save_facts(
        lab_state.LabFacts("depot", "unix:///x", 1, "192.0.2.0/24", "192.0.2.1", "br", 1400, ("192.0.2.53",))
    )
    data = dict(inventory.groups(cluster(substrate="lab"))[1])["gate-1"]
    assert data["docker_dns"] == ["192.0.2.53"]
    assert data["docker_mtu"] == 1400
    assert "docker_dns" not in dict(inventory.groups(cluster())[1])["gate-1"]


@pytest.mark.parametrize(
    ("limit", "exclude", "left"),
    [
        ((), (), {"office", "gate-1"}),
        (("gate-*",), (), {"gate-1"}),
        (("requester",), (), {"office"}),
        (("compute",), ("office",), {"gate-1"}),
        (("all",), ("requester",), {"gate-1"}),
        (("onprem",), (), {"office", "gate-1"}),
        ((), ("nosuch",), {"office", "gate-1"}),
    ],
)
def test_limits(limit, exclude, left):
    assert inventory.refuse_empty(cluster(), "onprem", limit, exclude) == left


@pytest.mark.parametrize(
    ("limit", "exclude"), [(("nosuch",), ()), (("gate-1", "nosuch"), ()), ((), ("all",)), (("gate-1",), ("gate-*",))]
)
def test_limits_that_leave_nothing(limit, exclude):
    with pytest.raises(UsageError, match="hosts: gate-1, office"):
        inventory.refuse_empty(cluster(), "onprem", limit, exclude)


def test_the_document_comes_from_the_environment_or_the_substrate(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no cluster document"):
        inventory.hosts("lab")
    path = tmp_path / "c.json"
    clusters.save(cluster(), path)
    monkeypatch.setenv("SHOAL_CLUSTER", str(path))
    assert inventory.load("onprem") == cluster()
    with pytest.raises(UsageError, match=r"about lab, and SHOAL_CLUSTER names a cluster of onprem: 'depot'"):
        inventory.load("lab")
    monkeypatch.delenv("SHOAL_CLUSTER")
    monkeypatch.setenv("SHOAL_ONPREM", str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match=r"none\.toml"):
        inventory.hosts("onprem")
