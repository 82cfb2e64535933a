"""What this machine keeps for a cluster: every file that is named after one is found, and goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cluster import local_files, overlay, owners
from shoal.deploys import run as deploys
from shoal.engines.bacalhau import secrets
from shoal.errors import UsageError
from shoal.lab.down import down
from shoal.lifecycle import kept_files
from shoal.paths import cluster_document, ssh_config_path, state_dir
from shoal.site import document as site

PLACES = (
    cluster_document, kept_files.known_hosts_path, site.document_path, deploys.lock_path, secrets.path, overlay.path,
    owners.note_path, ssh_config_path,
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("SHOAL_SITE", raising=False)


def test_all_that_is_named_after_a_cluster_is_found_and_goes() -> None:
    secrets.ensure("plant")  # with its lock
    for place in PLACES:
        for name in ("plant", "plant-2"):
            place(name).parent.mkdir(parents=True, exist_ok=True)
            place(name).touch()
    assert {place("plant") for place in PLACES} <= set(local_files.of("plant"))
    local_files.forget("plant")
    assert local_files.of("plant") == []
    assert all(place("plant-2").exists() for place in PLACES)
    local_files.forget("plant-2")
    assert not state_dir().exists()


def test_a_lab_is_not_taken_down_by_the_name_of_another_cluster(tmp_path: Path) -> None:
    note = owners.Owner(cluster="plant", substrate="onprem", document=tmp_path / "onprem.toml")
    owners.note_path("plant").parent.mkdir(parents=True)
    owners.note_path("plant").write_text(note.model_dump_json())
    secrets.ensure("plant")
    with pytest.raises(UsageError, match="onprem has the name 'plant' already"):
        down("plant")
    assert secrets.path("plant").exists()
