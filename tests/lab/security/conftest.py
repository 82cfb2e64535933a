"""Attacks on a lab's site: with the real engine where its program is there, else skipped with that reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attack_ground import Ground
from lab_under_test import Lab

from shoal.engines import choice as engines
from shoal.engines.bacalhau import release
from shoal.site import document as site


@pytest.fixture(scope="session")
def ground(lab: Lab) -> Ground:
    """The lab deployed, with the engine where its program is there."""
    if binary := os.environ.get("SHOAL_BACALHAU_BINARY"):
        release.add(Path(binary))
    site.prepare(lab.cluster)
    found = Ground(lab)
    found.deploy()
    return found


@pytest.fixture(scope="session")
def engine(ground: Ground) -> Ground:
    """The same, for attacks on the engine."""
    if engines.choose("auto", ground.lab.cluster).engine != "bacalhau":
        pytest.skip("no Bacalhau: SHOAL_BACALHAU_BINARY is not set and none is cached")
    return ground
