"""The site on other releases than this machine's own: bare machines with a Debian of another number."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from plant import Plant, changed, registered, site_document
from test_guests_inventory import inventories

from shoal.check.examine import examine
from shoal.lab import apt, base_image
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.lab.up import up
from shoal.site.document import SiteDocument
from shoal.telling import to_stderr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

NODES = ("requester", "compute-1")


@pytest.fixture(params=["trixie", "bullseye"])
def plant(request: pytest.FixtureRequest, lab_environment: None, tmp_path: Path) -> Iterator[Plant]:
    """Machines of the release: its packages by apt, its systemd, its shell."""
    codename, name = request.param, f"{os.environ.get('SHOAL_TEST_GUESTS', 'guests')}{request.param[:3]}"
    here = base_image.release()
    sources = [_of(source, here.codename, codename) for source in apt.read_sources()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apt, "read_sources", lambda: sources)
        patch.setattr(base_image, "release", lambda: base_image.Release("debian", codename))
        lab = up(LabSpec(name=name, compute=1), say=to_stderr)
        made = registered(lab, name, tmp_path, NODES)
        patch.setenv("SHOAL_SITE", str(site_document(made, tmp_path)))
        yield made
        result = down(name)
    assert result.clean, result.proofs


def _of(source: apt.Source, here: str, there: str) -> apt.Source:
    return dataclasses.replace(source, suites=tuple(suite.replace(here, there) for suite in source.suites))


def test_another_debian_from_bare_and_back(plant: Plant) -> None:
    site = SiteDocument(cluster=plant.cluster.name)
    yes_to = ["end-of-life"]
    report = examine(plant.cluster, NODES, site, bacalhau=False, knobs={}, yes_to=yes_to)
    assert [entry.what for entry in report.in_the_way] == []
    before = inventories(plant)
    plant.deploy(data={"shoal_yes_to": yes_to})
    for node in NODES:
        assert "shoal/detector" in plant.on(node, "docker images")
    assert changed(plant.deploy(data={"shoal_yes_to": yes_to})) == []
    plant.deploy("teardown")
    after = inventories(plant)
    assert {name: sorted(before[name] ^ after[name]) for name in NODES} == {name: [] for name in NODES}
