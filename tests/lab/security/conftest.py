"""Attacks on a lab's site: with the real engine where its program is there, else skipped with that reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attack_ground import Ground
from lab_under_test import Lab

from shoal.engines.bacalhau import release
from shoal.site import document as site


@pytest.fixture(scope="session")
def ground(lab: Lab) -> Ground:
    """The lab deployed, with the engine where its program is there."""
    binary = os.environ.get("SHOAL_BACALHAU_BINARY")
    if binary:
        release.add(Path(binary))
    site.prepare(lab.cluster)
    found = Ground(lab, "bacalhau" if binary else "ssh")
    found.deploy()
    return found


@pytest.fixture(scope="session")
def engine(ground: Ground) -> Ground:
    """The same, for attacks on the engine."""
    if ground.engine != "bacalhau":
        pytest.skip("no Bacalhau: SHOAL_BACALHAU_BINARY is not set")
    return ground
