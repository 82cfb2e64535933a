"""A lab with the real engine: only where its program is named (SHOAL_BACALHAU_BINARY)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_site import NO_EVENTS, Reference, Site, detections
from lab_under_test import Lab

from shoal.cluster import reach as reaches
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.engines.bacalhau import release
from shoal.site import document as site

FAULTS: list[str] = []
"""What the tests saw, a line a fault; told at the end of the session."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    if os.environ.get("SHOAL_BACALHAU_BINARY"):
        return
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip("no Bacalhau: SHOAL_BACALHAU_BINARY is not set"))


@pytest.fixture(scope="session")
def engine_site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The lab deployed with the engine, clips and model included."""
    added = release.add(Path(os.environ["SHOAL_BACALHAU_BINARY"]))
    choice = engines.choose("bacalhau", lab.cluster)
    site.prepare(lab.cluster, events=NO_EVENTS)
    # The job of exit.yaml.j2, in the site's own image.
    site.allow(lab.cluster.name, site.SiteJob(entrypoint=("python3", "-c")))
    deploys.run_deploy(reaches.load(lab.document), "site", data=engines.deploy_data(choice))
    yield Site(lab, tmp_path_factory.mktemp("runs"))
    # Tests of the same session that mean no engine, with `auto`, have none.
    shutil.rmtree(added.path.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def reference(engine_site: Site) -> Reference:
    """The second of two: the first one reads image, model and clips from the disk."""
    for _ in range(2):
        run = engine_site.run()
        assert run.end() == 0, run.text
    return Reference(run.seconds, detections(run))


@pytest.fixture
def whole_site(engine_site: Site) -> Iterator[Site]:
    """The site, and afterwards made whole again however the test ended."""
    yield engine_site
    engine_site.mend()


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """What a test saw of its fault, for docs/faults.md."""
    words: list[str] = []
    yield words
    name = re.sub(r"^test_", "", request.node.name)
    FAULTS.append(f"{name}: {'; '.join(words)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in FAULTS:
        terminalreporter.write_line(f"seen: {line}")


@pytest.fixture(scope="session", autouse=True)
def _engine_client(lab_environment: None) -> None:
    subprocess.run(["docker", "version"], check=True, capture_output=True)
