"""A running lab for the tests that need machines: brought up once, or re-used, and taken down at the end.

`SHOAL_TEST_LAB` names it (default `test`), and then `SHOAL_STATE` says where it is described (default: one of this
session); `SHOAL_KEEP_LAB=1` leaves it up; `SHOAL_YES=1` agrees to installing an engine where none answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from lab_under_test import Lab

from shoal.lab import engine as engines
from shoal.lab import state
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.lab.up import up
from shoal.paths import cluster_document
from shoal.telling import to_stderr
from tests.own_folders import PERSON_STATE

COMPUTE = 2


@pytest.fixture(scope="session")
def lab_environment() -> Iterator[None]:
    """An engine that answers."""
    patch = pytest.MonkeyPatch()
    with pytest.MonkeyPatch.context() as person:
        # The one thing that is of the person's state: a second engine beside the one that `shoal lab up` brought would
        # share its firewall.
        person.setenv("SHOAL_STATE", os.environ.get(PERSON_STATE, os.environ["SHOAL_STATE"]))
        found = engines.find_or_bring(to_stderr, recorded_url=None, yes=os.environ.get("SHOAL_YES") == "1")
    patch.setenv("DOCKER_HOST", found.url)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def lab(lab_environment: None) -> Iterator[Lab]:
    """A requester and two compute nodes."""
    name = os.environ.get("SHOAL_TEST_LAB", "test")
    existed = state.load_facts(name) is not None
    cluster = up(LabSpec(name=name, compute=None if existed else COMPUTE))
    facts = state.load_facts(name)
    assert facts is not None
    yield Lab(name, cluster, cluster_document(name), facts)
    if os.environ.get("SHOAL_KEEP_LAB") != "1" and not existed:
        result = down(name)
        assert result.clean, result.proofs
