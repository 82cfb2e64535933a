"""The inventory of machines before and after the site with the engine, a packet filter and a privacy policy on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from plant import changed, registered, site_document
from test_guests_inventory import inventories

from shoal.cluster.document import Cluster
from shoal.engines import choice as engine_choice
from shoal.engines.bacalhau import release

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

NODES = ("requester", "compute-1")
OWNERS_FOLDERS = "mkdir -p /etc/bacalhau; echo 'the owners' >/etc/bacalhau/own.yaml"


@pytest.fixture
def program() -> Iterator[None]:
    """The engine's own program, where one is named."""
    if not (given := os.environ.get("SHOAL_BACALHAU_BINARY")):
        pytest.skip("no Bacalhau: SHOAL_BACALHAU_BINARY is not set")
    added = release.add(Path(given))
    yield
    # Tests of the same session that mean no engine, with `auto`, have none.
    shutil.rmtree(added.path.parent)


@pytest.mark.usefixtures("program")
def test_with_everything_on_it_a_machine_is_afterwards_what_it_was_before(gateways: Cluster, tmp_path, monkeypatch):
    document = gateways.model_dump(mode="json", exclude_none=True) | {"firewall": "on"}
    lab = Cluster.model_validate(document)
    plant = registered(lab, "plantx", tmp_path, NODES, engine="bacalhau")
    choice = engine_choice.choose("bacalhau", plant.cluster)
    monkeypatch.setenv("SHOAL_SITE", str(site_document(plant, tmp_path)))
    data = engine_choice.deploy_data(choice) | {"videos_key_frames": 2}
    plant.on("compute-1", OWNERS_FOLDERS)
    before = inventories(plant)
    plant.deploy(data=data)
    assert plant.holds(
        "requester", "systemctl is-active -q bacalhau-orchestrator && nft list table inet shoal_firewall >/dev/null"
    )
    assert plant.holds("compute-1", "systemctl is-active -q bacalhau-compute && [ -e /videos/.shoal/privacy.json ]")
    assert changed(plant.deploy(data=data)) == []
    plant.deploy("teardown", data={"teardown_results": True})
    after = inventories(plant)
    assert {name: sorted(before[name] ^ after[name]) for name in NODES} == {name: [] for name in NODES}
    plant.on("compute-1", "rm -r /etc/bacalhau")
