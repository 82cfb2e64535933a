"""Role `registry` on the requester, and seen from the compute nodes."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.live


def test_service(requester):
    service = requester.service("docker-registry.service")
    assert service.is_running
    assert service.is_enabled


def test_it_listens_on_the_nodes_address_only(requester):
    address = requester.node.peer_address
    assert requester.socket(f"tcp://{address}:5000").is_listening
    assert not requester.socket("tcp://0.0.0.0:5000").is_listening
    assert not requester.socket("tcp://127.0.0.1:5000").is_listening


def test_it_takes_images_on_loopback_only(requester):
    assert requester.socket("tcp://127.0.0.1:5001").is_listening
    assert not requester.socket("tcp://0.0.0.0:5001").is_listening
    assert not requester.socket(f"tcp://{requester.node.peer_address}:5001").is_listening


@pytest.mark.parametrize(
    "call",
    [
        "-X POST {}/shoal/detector/blobs/uploads/",
        "-X DELETE {}/shoal/detector/manifests/{}",
        "-X PUT -d '{{}}' {}/shoal/detector/manifests/0123456789abcdef",
    ],
)
def test_nodes_can_only_read(worker, live_cluster, call):
    url = f"http://{live_cluster.requester.peer_address}:5000/v2"
    words = call.format(url, "sha256:" + "0" * 64)
    code = worker.check_output(f"curl -sS --noproxy '*' -m 5 -o /dev/null -w '%{{http_code}}' {words}")
    assert code == "405"


def test_compute_nodes_reach_it_without_a_password(worker, live_cluster):
    url = f"http://{live_cluster.requester.peer_address}:5000/v2/"
    assert worker.check_output(f"curl -sS --noproxy '*' -m 5 -o /dev/null -w '%{{http_code}}' {url}") == "200"


def test_it_is_the_requesters_alone(worker):
    if "requester" not in worker.node.roles:
        assert not worker.package("docker-registry").is_installed
