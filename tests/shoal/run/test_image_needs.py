"""The image of a run that is not finished: kept by note, brought back from the registry, replaced by a named choice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_nodes import IMAGE, FakeNodes, outcomes

from shoal.results import record as runs
from shoal.results.record import Outcome
from shoal.run import image_needs
from shoal.run import start as running
from shoal.run.resume import resume

NEEDS = "/var/lib/shoal/image-needs"
OTHER = IMAGE.replace("d" * 64, "e" * 64)


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes.make(tmp_path, monkeypatch)
    found.video("c1", "a.mp4")
    found.video("c2", "b.mp4", "exit 5")
    return found


def deployed_anew(nodes: FakeNodes, *names: str, gone: bool = True) -> None:
    """What a site deploy with another image leaves on nodes."""
    for name in names:
        nodes.docker(name, images={OTHER: "amd64"} | ({} if gone else {IMAGE: "amd64"}))
        note = {"reference": OTHER, "digest": "sha256:" + "e" * 64}
        nodes.path(name, "/var/lib/shoal/image.json").write_text(json.dumps(note))


def mend(nodes: FakeNodes) -> None:
    nodes.video("c2", "b.mp4", "ok")


def test_what_a_run_needs_is_noted_until_it_is_whole(nodes: FakeNodes) -> None:
    running.start(nodes.order(), nodes.tell)
    for name, kind in (("c1", "node"), ("c2", "node"), ("requester", "registry")):
        assert nodes.path(name, f"{NEEDS}/{kind}/r1").read_text() == f"{IMAGE}\n"
    assert not nodes.path("requester", f"{NEEDS}/node").exists()
    mend(nodes)
    resume("r1", nodes.cluster, nodes.tell)
    assert not nodes.path("requester", f"{NEEDS}/registry/r1").exists()


def test_an_image_that_is_no_digest_cannot_be_kept(nodes: FakeNodes) -> None:
    nodes.docker("c1", images={"site/other:1": "amd64"})
    nodes.docker("c2", images={"site/other:1": "amd64"})
    running.start(nodes.order(image="site/other:1"), nodes.tell)
    assert not nodes.path("c1", NEEDS).exists()


def test_a_node_that_lost_the_image_gets_it_from_the_sites_registry(nodes: FakeNodes) -> None:
    running.start(nodes.order(), nodes.tell)
    mend(nodes)
    deployed_anew(nodes, "c1", "c2")
    nodes.docker("c2", images={OTHER: "amd64"}, registry={IMAGE: "amd64"})
    record = resume("r1", nodes.cluster, nodes.tell)
    assert outcomes(record) == {"c1": Outcome.FINISHED, "c2": Outcome.FINISHED}
    assert "c2: note: brought the run's image from the site's registry" in nodes.told()
    assert record.nodes["c2"].attempts[-1].image is None


def test_where_it_is_gone_the_way_that_works_is_told_and_works(nodes: FakeNodes) -> None:
    running.start(nodes.order(), nodes.tell)
    mend(nodes)
    deployed_anew(nodes, "c1", "c2")
    record = resume("r1", nodes.cluster, nodes.tell)
    assert outcomes(record)["c2"] is Outcome.NOT_RUN
    message = record.nodes["c2"].attempts[-1].message
    assert "shoal resume RUN --image current" in message
    assert "which places it" not in message

    record = resume("r1", nodes.cluster, nodes.tell, image=image_needs.CURRENT)
    assert outcomes(record) == {"c1": Outcome.FINISHED, "c2": Outcome.FINISHED}
    assert record.image.reference == IMAGE
    assert [attempt.image for attempt in record.nodes["c1"].attempts] == [None]
    assert record.nodes["c2"].attempts[-1].image == OTHER
    assert runs.load("r1") == record
    assert f"finish with {OTHER}; the run was begun with {IMAGE}" in nodes.told()


def test_a_site_elsewhere_is_not_asked_for_an_image(nodes: FakeNodes) -> None:
    elsewhere = IMAGE.replace("10.0.0.10", "registry.example")
    nodes.docker("c1", images={}, registry={elsewhere: "amd64"})
    nodes.docker("c2", images={elsewhere: "amd64"})
    record = running.start(nodes.order(image=elsewhere), nodes.tell)
    assert outcomes(record)["c1"] is Outcome.NOT_RUN
