"""A lab of its own for the tests of gateways that have an owner: a requester and four compute nodes.

`SHOAL_TEST_GUESTS` names it (default `guests`); `SHOAL_KEEP_LAB=1` leaves it up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from shoal.cluster.document import Cluster
from shoal.lab import state
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.lab.up import up
from shoal.telling import to_stderr

COMPUTE = 4


@pytest.fixture(scope="session")
def gateways(lab_environment: None) -> Iterator[Cluster]:
    """Bare machines; each test makes of them what it needs."""
    name = os.environ.get("SHOAL_TEST_GUESTS", "guests")
    existed = state.load_facts(name) is not None
    cluster = up(LabSpec(name=name, compute=None if existed else COMPUTE), say=to_stderr)
    yield cluster
    if os.environ.get("SHOAL_KEEP_LAB") != "1":
        result = down(name)
        assert result.clean, result.proofs
