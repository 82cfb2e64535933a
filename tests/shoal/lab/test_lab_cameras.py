"""The lab's cameras and its store, as the cluster document and their machines have them."""

from __future__ import annotations

import configparser
import stat
from pathlib import Path

import pytest

from shoal.cluster import document
from shoal.lab import cameras, services, store
from shoal.lab.state import LabFacts

FACTS = LabFacts("yard", "unix:///x", 2, "10.213.0.0/24", "10.213.0.1", "shoal-1", 1400, cameras=2)


def test_every_camera_of_the_lab_has_a_name_and_a_port_of_its_own() -> None:
    found = {node: cameras.of_node(FACTS, node) for node in ("requester", "compute-1", "compute-2")}
    assert found["requester"] == ()
    assert [one.name for one in found["compute-2"]] == ["compute-2-a", "compute-2-b"]
    sources = [one.source for node in found.values() for one in node]
    assert sources == [f"rtsp://10.213.0.4:{8554 + number}/film.mp4?play_count=0" for number in range(4)]


def test_the_document_of_a_lab_with_cameras_and_store_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    nodes = [
        document.Node(name=name, roles=(role,), address=address, cameras=cameras.of_node(FACTS, name))
        for name, role, address in (("requester", "requester", "10.213.0.10"), ("compute-1", "compute", "10.213.0.11"))
    ]
    made = document.Cluster(name="yard", substrate="lab", nodes=tuple(nodes), events_store=store.of_cluster(FACTS))
    document.save(made, tmp_path / "cluster.json")
    assert document.load(tmp_path / "cluster.json") == made
    assert made.events_store is not None
    assert made.events_store.to == "s3:events/yard"


def test_the_stores_key_is_made_once_and_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    key, secret = store.credential("yard")
    path = store.credential_path("yard")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert store.credential("yard") == (key, secret)
    parsed = configparser.ConfigParser()
    parsed.read(path)
    assert dict(parsed["default"]) == {"aws_access_key_id": key, "aws_secret_access_key": secret}


def test_a_service_restarts_and_has_no_secret_in_its_unit() -> None:
    text = services.Service("lab-store", "A store", "/srv/lab/rclone serve s3", environment_file="/srv/lab/key").text()
    unit = configparser.ConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    assert dict(unit["Service"]) == {
        "EnvironmentFile": "/srv/lab/key",
        "ExecStart": "/srv/lab/rclone serve s3",
        "Restart": "always",
        "RestartSec": "1",
    }
