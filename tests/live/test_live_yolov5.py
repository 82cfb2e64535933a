"""Role `yolov5` on the machines: one image by one digest everywhere, and the model beside it."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.live


def record(machine):
    return json.loads(machine.file("/var/lib/shoal/image.json").content_string)


def test_requester_has_it_in_its_registry(requester):
    noted = record(requester)
    repository = noted["tag"].split("/", 1)[1].rpartition(":")[0]
    authority = noted["tag"].split("/", 1)[0]
    kind = "Accept: application/vnd.docker.distribution.manifest.v2+json"
    head = requester.check_output(
        f"curl -fsSI --noproxy '*' -H '{kind}' http://{authority}/v2/{repository}/manifests/{noted['digest']}"
    )
    assert noted["digest"] in head


def test_compute_node_has_it_by_digest(worker):
    noted = record(worker)
    assert noted["reference"].endswith("@" + noted["digest"])
    digests = worker.check_output(f"docker image inspect --format '{{{{json .RepoDigests}}}}' {noted['reference']}")
    assert noted["reference"] in json.loads(digests)


def test_the_image_does_not_grow(worker):
    size = worker.check_output(f"docker image inspect --format '{{{{.Size}}}}' {record(worker)['reference']}")
    assert int(size) < 640_000_000


def test_it_runs_without_a_network(worker):
    output = worker.check_output(f"docker run --rm --network none --read-only {record(worker)['reference']} --version")
    assert output.startswith("shoal-detect ")


def test_models_are_what_their_names_say(worker):
    paths = worker.check_output("find /var/lib/shoal/weights -name '*.onnx'").split()
    assert paths
    for path in paths:
        model = worker.file(path)
        assert model.sha256sum == path.rpartition("/")[2].removesuffix(".onnx")
        assert (model.user, model.mode) == ("root", 0o644)
