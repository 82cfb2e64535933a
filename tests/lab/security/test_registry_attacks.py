"""Whoever reaches the registry decides nothing: it takes nothing from the network, and what it says is not believed."""

from __future__ import annotations

import json

import pytest
from attack_ground import Ground

from shoal.errors import ShoalError

pytestmark = pytest.mark.lab

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def record(ground: Ground, node: str = "requester") -> dict[str, str]:
    found: dict[str, str] = json.loads(ground.on(node, "cat /var/lib/shoal/image.json"))
    return found


def status(ground: Ground, node: str, words: str) -> str:
    return ground.on(node, f"curl -sS --noproxy '*' -m 10 -o /dev/null -w '%{{http_code}}' {words}")


def test_nobody_on_the_network_can_write_or_delete(ground: Ground) -> None:
    """A push needs POST and PUT, an upload PATCH; manifests were deleted by anybody (202)."""
    noted = record(ground)
    place, _, repository = noted["reference"].partition("@")[0].partition("/")
    base = f"http://{place}/v2/{repository}"
    for node in ("compute-1", "requester"):
        assert status(ground, node, f"-I -H 'Accept: {MANIFEST}' {base}/manifests/{noted['digest']}") == "200"
        for words in (
            f"-X POST {base}/blobs/uploads/",
            f"-X POST '{base}/blobs/uploads/?mount={noted['digest']}&from={repository}'",
            f"-X PUT -H 'Content-Type: {MANIFEST}' -d '{{}}' {base}/manifests/{noted['tag'].rpartition(':')[2]}",
            f"-X PUT -d x '{base}/blobs/uploads/x?digest={noted['digest']}'",
            f"-X PATCH -d x {base}/blobs/uploads/x",
            f"-X DELETE {base}/manifests/{noted['digest']}",
            f"-X DELETE {base}/blobs/{noted['digest']}",
        ):
            assert status(ground, node, words) in ("404", "405"), words
    assert status(ground, "compute-1", f"-I -H 'Accept: {MANIFEST}' {base}/manifests/{noted['digest']}") == "200"


def test_the_port_that_takes_images_is_not_on_the_network(ground: Ground) -> None:
    address = ground.lab.cluster.requester.peer_address
    done = ground.done("compute-1", "curl", "-sS", "--noproxy", "*", "-m", "5", f"http://{address}:5001/v2/")
    assert done.returncode == 7, done.stderr  # refused: nobody listens there


def test_another_image_under_the_foreseeable_tag_stops_the_deploy(ground: Ground) -> None:
    """Pushed by somebody who is on the requester; the deploy names both digests, and no node pulls anything."""
    noted = record(ground)
    before = {node.name: record(ground, node.name) for node in ground.lab.cluster.compute}
    ground.on(
        "requester",
        f"set -e; c=$(docker create {noted['tag']}); docker commit -c 'LABEL owned=yes' $c evil >/dev/null; "
        f"docker rm $c >/dev/null; docker tag evil 127.0.0.1:5001/shoal/scratch:x; "
        "docker push -q 127.0.0.1:5001/shoal/scratch:x >/dev/null; "
        f"docker tag {noted['tag']} mine; docker tag evil {noted['tag']}; docker push -q {noted['tag']} >/dev/null; "
        f"docker tag mine {noted['tag']}; docker image rm mine >/dev/null",
    )
    foreign = ground.on(
        "requester",
        f"curl -fsSI --noproxy '*' -H 'Accept: {MANIFEST}' http://127.0.0.1:5001/v2/shoal/detector/manifests/"
        f"{noted['tag'].rpartition(':')[2]} | tr -d '\\r' | awk 'tolower($1)==\"docker-content-digest:\" {{print $2}}'",
    ).strip()
    assert foreign.startswith("sha256:")
    assert foreign != noted["digest"]
    try:
        with pytest.raises(ShoalError) as caught:
            ground.deploy()
        told = str(caught.value)
        assert foreign in told
        assert noted["digest"] in told
        assert {node.name: record(ground, node.name) for node in ground.lab.cluster.compute} == before
        for node in ground.lab.cluster.compute:
            assert foreign not in ground.on(node.name, "docker images --digests")
    finally:
        ground.on("requester", "docker image rm evil 127.0.0.1:5001/shoal/scratch:x >/dev/null 2>&1 || true")
        ground.deploy(yolov5_overwrite=True)
    assert record(ground)["digest"] == noted["digest"]
    assert ground.deploy().changed == 0


def test_nodes_run_what_the_requester_built(ground: Ground) -> None:
    noted = record(ground)
    built = ground.on("requester", "cat /var/lib/shoal/builds").split()
    assert noted["digest"] in built
    for node in ground.lab.cluster.compute:
        assert record(ground, node.name) == noted
