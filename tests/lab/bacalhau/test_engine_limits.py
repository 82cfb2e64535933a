"""Machines whose control groups give less than they show: what a node can give is what its groups give.

A lab of its own, with one processor a node: Docker and the engine show the whole machine there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_site import NO_EVENTS, Site
from lab_under_test import Lab

from shoal.cluster import reach as reaches
from shoal.cluster.document import Engine
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.engines.bacalhau import connect, release
from shoal.lab import state
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.lab.up import up
from shoal.paths import cluster_document
from shoal.site import document as site

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

NAME = f"{os.environ.get('SHOAL_TEST_LAB', 'test')}-cpus"[:20]
ONE = "compute-1"
CPUS = 1.0
FEW_FRAMES = ["--stride", "25", "--img", "160"]
"""What the job asks for is tried, not how long it takes on one processor."""


@pytest.fixture(scope="module")
def narrow(lab_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A requester and one compute node, of one processor each, with the engine."""
    release.add(Path(os.environ["SHOAL_BACALHAU_BINARY"]))
    cluster = up(LabSpec(name=NAME, compute=1, cpus=CPUS))
    facts = state.load_facts(NAME)
    assert facts is not None
    lab = Lab(NAME, cluster, cluster_document(NAME), facts)
    site.prepare(cluster, events=NO_EVENTS)
    deploys.run_deploy(
        reaches.load(lab.document), "site", data=engines.deploy_data(engines.choose("bacalhau", cluster))
    )
    yield Site(lab, tmp_path_factory.mktemp("narrow"))
    result = down(NAME)
    assert result.clean, result.proofs


def test_the_engine_gives_out_what_the_groups_give(narrow: Site) -> None:
    if float(narrow.on(ONE, "nproc")) <= CPUS:
        pytest.skip("this machine has one processor: nothing is hidden from its nodes")
    with connect.client_for(narrow.lab.cluster) as client:
        (given,) = [node.info.compute_node_info.max_capacity.cpu for node in client.nodes() if node.computes]
    assert given == pytest.approx(0.8 * CPUS)


@pytest.mark.parametrize("engine", ["bacalhau", "ssh"])
def test_the_default_job_runs(narrow: Site, engine: Engine) -> None:
    run = narrow.run("--engine", engine, "--attempts", "1", *FEW_FRAMES, quick=False)
    assert run.end() == 0, run.text
    assert run.record["job"]["Tasks"][0]["Resources"]["CPU"] == "0.8"


@pytest.mark.parametrize("engine", ["bacalhau", "ssh"])
def test_more_than_the_groups_give_is_refused_before_anything_starts(narrow: Site, engine: Engine) -> None:
    run = narrow.run("--engine", engine, "--cpu", "1.5")
    assert run.end() == 2, run.text
    assert f"{ONE}: the job asks for 1.5 CPUs" in run.text
    assert not run.folder.exists()


def test_runcs_refusal_is_read(narrow: Site) -> None:
    """Where the groups got narrower after the survey: the words that runc has for it, with their meaning in front."""
    started = narrow.on(
        ONE, "docker run --rm --cpus 1.9 $(docker image ls --quiet | head -n 1) true 2>&1 || echo refused"
    )
    if "refused" not in started:
        pytest.skip("this kernel's control groups take more than the groups above them give")
    from shoal.engines.container_errors import explained

    assert explained(started).startswith("the machine gives fewer CPUs than the job asks for")
