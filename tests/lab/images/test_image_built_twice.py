"""The image's build on a real requester: the same checkout and base give the same digest, also on a bare engine."""

from __future__ import annotations

import hashlib
import json

import pytest
from lab_under_test import Lab

from shoal.cluster import reach as reaches
from shoal.deploys.run import run_deploy
from shoal.paths import NODE_STATE, cache_dir
from shoal.ssh import client as ssh
from shoal.telling import to_stderr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

MOST_BYTES = 600_000_000
"""Of the image with its base, as the engine counts: every node pulls it."""

# What a requester that was remade without its volumes lacks; a file's time is another, too.
FORGET = f"""
set -eu
rm -f {NODE_STATE}/image.json
rm -rf {NODE_STATE}/registry/docker
systemctl restart shoal-registry
docker image prune -af >/dev/null
docker image ls -q | sort -u | xargs -r docker image rm -f >/dev/null
"""


@pytest.fixture(scope="module", autouse=True)
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory):
    """A site without videos, with a stand-in for a model; the base comes from the cache where it is there."""
    folder = tmp_path_factory.mktemp("built")
    model = folder / "model.onnx"
    model.write_bytes(b"a stand-in" * 1000)
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    document = {"cluster": lab.cluster.name, "weights": [{"path": str(model), "sha256": sha256, "name": "stand-in"}]}
    if archives := sorted((cache_dir() / "images").glob("base-*.tar")):
        document["image"] = {"base_tarball": str(archives[-1])}
    path = folder / "site.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    patch = pytest.MonkeyPatch()
    patch.setenv("SHOAL_SITE", str(path))
    yield
    patch.undo()


def on_requester(lab: Lab, script: str) -> str:
    return ssh.run(lab.cluster, lab.cluster.requester, "sh", "-c", script, root=True, timeout_s=300).text


def digest(lab: Lab) -> str:
    return json.loads(on_requester(lab, f"cat {NODE_STATE}/image.json"))["digest"]


def test_a_requester_that_lost_everything_publishes_the_same_digest(lab: Lab) -> None:
    run_deploy(reaches.load(lab.document), "site", limit=["requester"], say=to_stderr)
    first = digest(lab)
    image = on_requester(lab, f"docker image inspect $(jq -r .tag {NODE_STATE}/image.json 2>/dev/null || "
                              f"sed 's/.*\"tag\": \"\\([^\"]*\\)\".*/\\1/' {NODE_STATE}/image.json)")  # fmt: skip
    described = json.loads(image)[0]
    assert described["Created"].startswith("1980-01-01")
    assert described["Size"] < MOST_BYTES, f"the image has {described['Size'] // 1_000_000} MB"
    on_requester(lab, FORGET)
    run_deploy(reaches.load(lab.document), "site", limit=["requester"], say=to_stderr)
    assert digest(lab) == first
    assert json.loads(on_requester(lab, f"docker image inspect {described['RepoTags'][0]}"))[0]["Id"] == described["Id"]
