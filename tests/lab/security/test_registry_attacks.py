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


STORED = "cd /var/lib/shoal/registry && find . -type f -exec sha256sum {} + | LC_ALL=C sort"
RAW = """
import json, socket, sys
address, requests = sys.argv[1], json.load(sys.stdin)
for request in requests:
    with socket.create_connection((address, 5000), timeout=10) as way:
        way.settimeout(10)
        way.sendall(request.encode("latin-1"))
        answer = b""
        try:
            while chunk := way.recv(65536):
                answer += chunk
        except TimeoutError:
            pass
    print(json.dumps([line[9:12] for line in answer.decode("latin-1").split("\\r\\n") if line.startswith("HTTP/1.")]))
"""


def test_no_way_of_wording_a_request_writes(ground: Ground) -> None:
    """Other methods, another method in a header, upgrades, paths in other spellings, a second request in the body."""
    noted = record(ground)
    place, _, repository = noted["reference"].partition("@")[0].partition("/")
    address = place.rpartition(":")[0].strip("[]")
    manifest, upload = f"/v2/{repository}/manifests/{noted['digest']}", f"/v2/{repository}/blobs/uploads/"
    close = "Connection: close\r\n\r\n"
    smuggled = f"DELETE {manifest} HTTP/1.1\r\nHost: x\r\n{close}"
    requests = [
        *(f"{method} {manifest} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{close}"
          for method in ("TRACE", "OPTIONS", "CONNECT", "PROPFIND", "MOVE", "delete", "DELETE")),
        *(f"GET {manifest} HTTP/1.1\r\nHost: x\r\n{name}: DELETE\r\n{close}"
          for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")),
        f"GET {manifest} HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
        f"Connection: Upgrade, HTTP2-Settings\r\n\r\n",
        f"GET {manifest} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        *(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{close}"
          for path in (upload, f"/{upload}", f"/v2/./{repository}/blobs/uploads/", upload.replace("blobs", "%62lobs"),
                       f"/v2/x/../{repository}/blobs/uploads/", upload.rstrip("/"), f"{upload}?_method=PUT",
                       f"http://127.0.0.1:5001{upload}", f"/v2/x%2f..%2f{repository}/blobs/uploads/")),
        f"GET {manifest} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(smuggled)}\r\n\r\n{smuggled}",
        f"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
        f"POST {upload} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{close}5\r\nhello\r\n0\r\n\r\n",
        *(f"GET {path} HTTP/1.1\r\nHost: x\r\n{close}"
          for path in ("/debug/vars", "/debug/pprof/", "/metrics", "/v2/../../../etc/passwd", "/../etc/passwd",
                       "/v2/%2e%2e/%2e%2e/etc/passwd")),
    ]  # fmt: skip
    before = ground.on("requester", STORED)
    assert noted["digest"].removeprefix("sha256:") in before
    done = ground.done("compute-1", "python3", "-c", RAW, address, given=json.dumps(requests))
    assert done.returncode == 0, done.stderr
    answers = dict(zip(requests, map(json.loads, done.stdout.splitlines()), strict=True))
    for request, codes in answers.items():
        assert codes, request
        # OPTIONS only says what there is.
        writes = not request.startswith(("GET", "OPTIONS"))
        assert codes[-1][0] in ("345" if writes else "2345"), (request, codes)
        assert "101" not in codes, request
        assert not {"201", "202"} & set(codes), (request, codes)
    assert ground.on("requester", STORED) == before
    assert "root:" not in done.stdout


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
