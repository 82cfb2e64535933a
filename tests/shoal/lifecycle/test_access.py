"""The way into a cloud lab: the key in the OS Login profile, time for a proxy to start, data disks before bootstrap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal.cloud import gcloud
from shoal.cluster.document import Cluster, Node, SshAccess
from shoal.deploys import inventory
from shoal.errors import ShoalError
from shoal.lifecycle import access
from shoal.lifecycle import kept_files as known
from shoal.ssh import client as ssh

NOW = datetime(2026, 12, 1, tzinfo=UTC)
PUBLIC = "ssh-ed25519 AAAAC3Nza shoal-gcp"


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The account's profile, and the commands that were given, with a key of this machine at `key`."""
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    world: dict[str, Any] = {"keys": {}, "asked": [], "key": known.key_path("gcp")}
    world["key"].parent.mkdir(parents=True)
    Path(f"{world['key']}.pub").write_text(f"{PUBLIC}\n")

    def document(*arguments: str) -> dict[str, Any]:
        return {"posixAccounts": [{"username": "ops", "primary": True}], "sshPublicKeys": world["keys"]}

    monkeypatch.setattr(gcloud, "document", document)
    monkeypatch.setattr(gcloud, "text", lambda *arguments: world["asked"].append(arguments) or "")
    return world


def until(days: float) -> dict[str, Any]:
    moment = NOW + timedelta(days=days)
    return {"a1b2": {"key": PUBLIC, "expirationTimeUsec": str(int(moment.timestamp() * 1e6))}}


@pytest.mark.parametrize(
    ("keys", "verb"), [({}, "add"), (until(1), "update"), (until(-1), "update"), (until(29), None)]
)
def test_the_key_is_added_renewed_before_its_end_and_else_left(
    profile: dict[str, Any], keys: dict[str, Any], verb: str | None
) -> None:
    profile["keys"] = keys
    assert access.os_login(profile["key"], "p", now=NOW) == "ops"
    assert [asked[3] for asked in profile["asked"]] == ([verb] if verb else [])
    for asked in profile["asked"]:
        assert f"--key-file={profile['key']}.pub" in asked
        assert "--ttl=720h" in asked


def test_a_key_without_an_end_is_left(profile: dict[str, Any]) -> None:
    profile["keys"] = {"a1b2": {"key": PUBLIC}}
    access.os_login(profile["key"], "p", now=NOW)
    assert profile["asked"] == []


def test_the_key_is_taken_out_of_the_profile_where_it_is_in_it(
    profile: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    access.take_key_away("gcp", "p", said.append)
    assert profile["asked"] == []
    profile["keys"] = until(29)
    access.take_key_away("gcp", "p", said.append)
    assert [asked[:4] for asked in profile["asked"]] == [("compute", "os-login", "ssh-keys", "remove")]
    assert said == []

    # What cannot be done is told, and does not keep a lab that is gone from being forgotten.
    def refuse(*arguments: str) -> str:
        raise ShoalError("no network")

    monkeypatch.setattr(gcloud, "text", refuse)
    access.take_key_away("gcp", "p", said.append)
    assert len(said) == 1
    assert "no network" in said[0]


def lab(proxy: str | None) -> Cluster:
    nodes = (
        Node(name="gate", roles=("requester",), address="192.0.2.1"),
        Node(name="dock-1", roles=("compute",), address="192.0.2.2"),
    )
    return Cluster(name="quay", substrate="gcp", ssh=SshAccess(proxy_command=proxy), nodes=nodes)


def test_a_proxy_gets_time_to_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    for proxy, limit_s in (("gcloud start %h %p", 60), (None, 10)):
        cluster = lab(proxy)
        assert f"ConnectTimeout={limit_s}" in ssh.ssh_command(cluster, cluster.compute[0], "true")
        assert inventory._ssh_data(cluster, cluster.compute[0]).get("ssh_proxy_command") == proxy


def test_a_compute_node_without_its_data_disk_is_waited_for_and_the_requester_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    mounted: set[str] = set()
    asked: list[str] = []

    def run(cluster: Cluster, node: Node, *command: str, **how: Any) -> ssh.Completed:
        asked.append(node.name)
        assert "mountpoint -q /var/lib/shoal && mountpoint -q /videos" in command
        return ssh.Completed(0 if node.name in mounted else 1, b"", "")

    monkeypatch.setattr(ssh, "run", run)
    cluster = lab(None)
    assert access._mounted(cluster, cluster, cluster.requester) == []
    assert access._mounted(cluster, cluster, cluster.compute[0]) is None
    mounted.add("dock-1")
    assert access._mounted(cluster, cluster, cluster.compute[0]) == []
    assert asked == ["dock-1", "dock-1"]
