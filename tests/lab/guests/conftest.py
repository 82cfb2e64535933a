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
COMPUTE_OF_CASES = 3


@pytest.fixture(scope="session")
def gateways(lab_environment: None) -> Iterator[Cluster]:
    """Bare machines; each test makes of them what it needs."""
    yield from _lab(os.environ.get("SHOAL_TEST_GUESTS", "guests"), COMPUTE)


@pytest.fixture(scope="module")
def gateways_of_cases(lab_environment: None) -> Iterator[Cluster]:
    """Machines of one test file: what lives on them afterwards is nobody else's condition."""
    yield from _lab(f"{os.environ.get('SHOAL_TEST_GUESTS', 'guests')}c", COMPUTE_OF_CASES)


def _lab(name: str, compute: int) -> Iterator[Cluster]:
    existed = state.load_facts(name) is not None
    yield up(LabSpec(name=name, compute=None if existed else compute), say=to_stderr)
    if os.environ.get("SHOAL_KEEP_LAB") != "1" and not existed:
        result = down(name)
        assert result.clean, result.proofs
