"""The site document: which clip goes where, and which model."""

from __future__ import annotations

import hashlib

import pytest

from shoal.cluster.document import Cluster, Node
from shoal.errors import UsageError
from shoal.lab import node_image
from shoal.site import allowed, weights
from shoal.site import document as site


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Cluster:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SHOAL_SITE", raising=False)
    return Cluster(
        name="depot",
        substrate="lab",
        nodes=(
            Node(name="office", roles=("requester",), address="192.0.2.10"),
            Node(name="gate-1", roles=("compute",), address="192.0.2.21"),
            Node(name="gate-2", roles=("compute",), address="192.0.2.22"),
        ),
    )


@pytest.fixture
def model(tmp_path, monkeypatch):
    # The standard model's making has tests of its own; here only its place in the document counts.
    path = tmp_path / "m.onnx"
    path.write_bytes(b"model")
    found = weights.WeightsFile(path=path, name="own", sha256=hashlib.sha256(b"model").hexdigest(), licence="unknown")
    monkeypatch.setattr(weights, "from_file", lambda given: found)
    return path


def test_own_videos_are_spread_and_kept(cluster, model, tmp_path):
    folder = tmp_path / "clips"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.mp4", "b's.mp4", "sub/ä.mp4"):
        (folder / name).write_bytes(name.encode())
    document = site.prepare(cluster, folder, model)
    assert [clip.name for clip in document.videos["gate-1"]] == ["a.mp4", "b's.mp4"]
    assert [clip.name for clip in document.videos["gate-2"]] == ["sub/ä.mp4"]
    assert document.videos["gate-1"][0].sha256 == hashlib.sha256(b"a.mp4").hexdigest()
    assert document.weights[0].name == "own"
    assert document.image.base_tarball is None
    assert site.load("depot") == document


def test_nothing_was_prepared(cluster):
    assert site.load("depot") is None


def test_the_labs_base_is_used_where_it_was_made_here(cluster, model, tmp_path, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    base = node_image.base_archive()
    assert base.parent == tmp_path / "cache" / "images"
    base.parent.mkdir(parents=True)
    base.write_bytes(b"tar")
    # Of another release, from before an upgrade of this machine: newer, and not what this lab's nodes stand on.
    (base.parent / "base-other.tar").write_bytes(b"tar")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"a")
    assert site.prepare(cluster, tmp_path / "clips", model).image.base_tarball == base
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert site.prepare(cluster, tmp_path / "clips", model).image.base_tarball is None


PINNED = "r.example/yolov5@sha256:" + "f" * 64


def test_kinds_of_jobs_that_nodes_take_are_kept_by_the_next_prepare(cluster, model, tmp_path):
    site.prepare(cluster, None, model, with_videos=False)
    job = allowed.kind_of_job("yolov5-upstream", PINNED)
    assert job.entrypoint[:3] == ("python3", "-u", "-c")
    assert job.variables == ("KEY_FRAMES", "WEIGHTS_NAME")
    assert site.allow("depot", job).jobs == (job,)
    assert site.allow("depot", job).jobs == (job,)
    assert site.prepare(cluster, None, model, with_videos=False).jobs == (job,)
    assert site.allow_none("depot").jobs == ()


def test_an_image_that_may_be_another_tomorrow_is_not_allowed():
    for image in ("r.example/yolov5:v7", "r.example/yolov5", "-v@sha256:" + "f" * 64):
        with pytest.raises(UsageError, match="not one image for good"):
            allowed.kind_of_job(None, image)
    with pytest.raises(UsageError, match="no job template"):
        allowed.kind_of_job("none-of-ours", PINNED)


def test_without_a_site_document_nothing_is_allowed(cluster):
    with pytest.raises(UsageError, match="no site document"):
        site.allow("depot", allowed.kind_of_job(None, PINNED))
