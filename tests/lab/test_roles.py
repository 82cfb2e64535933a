"""The roles on real machines: the whole site from bare, a second time without a change, repairs, and taken away."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab_under_test import Lab

from shoal.cluster import reach as reaches
from shoal.deploys.run import DeployResult, run_deploy
from shoal.errors import ShoalError
from shoal.paths import cache_dir, repository
from shoal.ssh import client as ssh
from shoal.telling import to_stderr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

NAME = 'it\'s "gate" ä.mp4'


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory):
    """A site document with two little clips a node and a stand-in for a model; the real image is built."""
    folder = tmp_path_factory.mktemp("site")
    patch = pytest.MonkeyPatch()
    videos = {}
    for node in lab.cluster.compute:
        entries = []
        for name in (NAME, "sub/b.mp4"):
            path = folder / f"{node.name}-{len(entries)}.mp4"
            path.write_bytes(f"{node.name} {name}".encode() * 1000)
            entries.append(entry(path, name))
        videos[node.name] = entries
    model = folder / "model.onnx"
    model.write_bytes(os.urandom(1 << 20))
    path = folder / "site.json"
    document = {
        "cluster": lab.cluster.name,
        "videos": videos,
        "weights": [{"path": str(model), "sha256": sha256(model), "name": "stand-in"}],
    }
    archives = sorted((cache_dir() / "images").glob("base-*.tar"))
    if archives:
        document["image"] = {"base_tarball": str(archives[-1])}
    path.write_text(json.dumps(document), encoding="utf-8")
    patch.setenv("SHOAL_SITE", str(path))
    yield document
    patch.undo()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def entry(path: Path, name: str) -> dict[str, object]:
    return {"name": name, "path": str(path), "sha256": sha256(path), "size_bytes": path.stat().st_size}


def deploy(lab: Lab, what: str = "site", **options) -> DeployResult:
    return run_deploy(reaches.load(lab.document), what, say=to_stderr, timeout_s=800, **options)


def on(lab: Lab, node: str, script: str) -> str:
    return ssh.run(lab.cluster, lab.cluster.node(node), "sh", "-c", script, root=True).text


def changed(result: DeployResult) -> list[str]:
    return [f"{operation.name}: {', '.join(operation.changed)}" for operation in result.operations if operation.changed]


@pytest.fixture(scope="module")
def deployed(lab: Lab, site):
    """The site deployed once from whatever is there."""
    return deploy(lab)


def test_second_run_changes_nothing(lab, deployed):
    again = deploy(lab)
    assert changed(again) == []
    assert again.unchanged > 0
    assert deploy(lab, dry=True).changed == 0


def test_every_compute_node_has_the_image_by_digest(lab, deployed):
    records = {on(lab, node.name, "cat /var/lib/shoal/image.json") for node in lab.cluster.nodes}
    assert len(records) == 1
    reference = json.loads(records.pop())["reference"]
    for node in lab.cluster.compute:
        digests = on(lab, node.name, f"docker image inspect --format '{{{{json .RepoDigests}}}}' {reference}")
        assert reference in json.loads(digests)
        version = on(lab, node.name, f"docker run --rm --network none {reference} --version")
        assert version.startswith("shoal-detect ")


def test_old_images_leave_the_registry_and_their_space_is_given_back(lab, deployed):
    record = json.loads(on(lab, "requester", "cat /var/lib/shoal/image.json"))
    repository_name = record["tag"].rpartition(":")[0]
    # Two images of earlier checkouts, one layer of 4 MB each, and one that somebody else keeps there.
    for tag in ("0" * 16, "f" * 16, "theirs"):
        on(
            lab,
            "requester",
            f"set -e; head -c 4000000 /dev/urandom > /tmp/layer; c=$(docker create {record['tag']}); "
            f"docker cp -q /tmp/layer $c:/layer 2>/dev/null || docker cp /tmp/layer $c:/layer; "
            f"docker commit $c {repository_name}:{tag} >/dev/null; docker rm $c >/dev/null; rm /tmp/layer; "
            f"docker push -q {repository_name}:{tag}; docker image rm {repository_name}:{tag} >/dev/null",
        )
    full = int(on(lab, "requester", "du -sb /var/lib/shoal/registry").split()[0])
    on(lab, "requester", "rm /var/lib/shoal/image.json")
    result = changed(deploy(lab, limit=["requester"]))
    assert result == [
        "yolov5 | Push it to the site's registry: requester",
        "registry | Give back what no image uses: requester",
    ]
    host, _, name = repository_name.partition("/")
    tags = json.loads(on(lab, "requester", f"curl -fsS --noproxy '*' http://{host}/v2/{name}/tags/list"))["tags"]
    assert sorted(tags) == sorted([record["tag"].rpartition(":")[2], "theirs"])
    left = int(on(lab, "requester", "du -sb /var/lib/shoal/registry").split()[0])
    assert 7_900_000 < full - left < 9_000_000
    assert changed(deploy(lab)) == []
    # What is left can be pulled, and what is gone pushed again: the registry remembers nothing wrong.
    on(lab, "compute-1", f"docker image rm -f {record['reference']}")
    assert changed(deploy(lab, limit=["compute-1"])) == ["yolov5 | Pull the image by its digest: compute-1"]
    on(lab, "requester", f"docker pull -q {repository_name}:theirs && docker image rm {repository_name}:theirs")


def test_nothing_of_the_builds_settings_is_in_the_image(lab, deployed):
    reference = json.loads(on(lab, "compute-1", "cat /var/lib/shoal/image.json"))["reference"]
    look = "ls /etc/pip.conf /build /build-settings 2>&1 || true"
    listing = on(lab, "compute-1", f"docker run --rm --network none --entrypoint sh {reference} -c '{look}'")
    assert listing.count("No such file") == 3
    history = on(lab, "compute-1", f"docker history --no-trunc --format '{{{{.CreatedBy}}}}' {reference}")
    assert "proxy" not in history.lower()


def test_what_is_not_ours_is_neither_overwritten_nor_taken_for_ours(lab, site, deployed):
    wanted = {clip["name"]: clip["sha256"] for clip in site["videos"]["compute-1"]}
    on(lab, "compute-1", "echo footage > /videos/sub/b.mp4; echo mine > /videos/own.mp4")
    with pytest.raises(ShoalError, match=r"not from us: 'sub/b\.mp4'"):
        # Somebody has written over a clip of ours.
        deploy(lab, limit=["compute-1"])
    assert on(lab, "compute-1", "cat /videos/sub/b.mp4") == "footage"
    on(lab, "compute-1", "rm /videos/sub/b.mp4")
    assert changed(deploy(lab, limit=["compute-1"])) == ["videos | Place the clips: compute-1"]
    assert on(lab, "compute-1", "sha256sum < /videos/sub/b.mp4").split()[0] == wanted["sub/b.mp4"]
    assert on(lab, "compute-1", "cat /videos/own.mp4") == "mine"
    assert changed(deploy(lab, limit=["compute-1"])) == []


def test_a_restart_that_was_missed_is_made_up_for(lab, deployed):
    # As if a run had been cut off after it wrote the file.
    on(lab, "compute-1", "touch /etc/docker/daemon.json")
    before = on(lab, "compute-1", "systemctl show -p MainPID docker")
    assert changed(deploy(lab, limit=["compute-1"])) == ["docker | Run the engine: compute-1"]
    assert on(lab, "compute-1", "systemctl show -p MainPID docker") != before
    assert changed(deploy(lab, limit=["compute-1"])) == []


def test_a_node_without_room_for_the_clips_says_so(lab, site, deployed, tmp_path, monkeypatch):
    on(lab, "compute-2", "mkdir -p /small && mount -t tmpfs -o size=1m tmpfs /small")
    try:
        with pytest.raises(ShoalError, match="no space left in /small"):
            deploy(lab, limit=["compute-2"], data={"videos_folder": "/small"})
        assert on(lab, "compute-2", "ls -A /small") == ""
    finally:
        on(lab, "compute-2", "umount /small && rmdir /small")


def test_a_file_that_changed_on_the_way_is_refused(lab, site, deployed, tmp_path, monkeypatch):
    clip = tmp_path / "c.mp4"
    clip.write_bytes(b"0123456789")
    document = {**site, "videos": {"compute-1": [*site["videos"]["compute-1"], entry(clip, "c.mp4")]}}
    wanted = sha256(clip)
    # Same size, other content than the document says.
    clip.write_bytes(b"9876543210")
    other = tmp_path / "site.json"
    other.write_text(json.dumps(document), encoding="utf-8")
    monkeypatch.setenv("SHOAL_SITE", str(other))
    with pytest.raises(ShoalError, match="wrong hash") as caught:
        deploy(lab, limit=["compute-1"])
    assert wanted in str(caught.value)
    assert sha256(clip) in str(caught.value)
    assert on(lab, "compute-1", "find /videos /var/lib/shoal/incoming -name 'c.mp4' -o -name '*.part'") == ""


def test_the_live_checks_find_what_the_roles_promise(lab, site, deployed):
    """What `./just verify` runs, over SSH and with testinfra's eyes instead of pyinfra's."""
    deploy(lab)  # tests before this one broke things on purpose
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/live", "-m", "live", "-q", "-p", "no:cacheprovider"],
        cwd=repository(),
        env={**os.environ, "SHOAL_CLUSTER": str(lab.document)},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"^[4-9]\d passed", done.stdout, re.MULTILINE), done.stdout[-500:]


def test_taken_away_nothing_of_ours_is_left(lab, site, deployed):
    on(lab, "compute-2", "mkdir -p /var/lib/shoal/runs/r1 && echo kept > /var/lib/shoal/runs/r1/summary.json")
    deploy(lab, "teardown")
    left = (
        "ls -d /etc/docker /etc/shoal /etc/apt/apt.conf.d/50shoal /etc/systemd/journald.conf.d/50-shoal.conf "
        "/etc/systemd/system/docker-registry.service.d /etc/systemd/system/shoal-registry.service "
        "/var/lib/shoal/image.json /var/lib/shoal/weights "
        "/var/lib/shoal/registry /var/lib/shoal/roles /var/lib/shoal/incoming 2>/dev/null || true; "
        "dpkg-query -W -f '${Package}\\n' docker.io containerd docker-registry 2>/dev/null || true"
    )
    for node in lab.cluster.nodes:
        assert on(lab, node.name, left) == ""
    assert on(lab, "compute-1", "ls /videos") == "own.mp4"
    assert on(lab, "compute-2", "cat /var/lib/shoal/runs/r1/summary.json") == "kept"
    assert changed(deploy(lab, "teardown")) == []
    deploy(lab, "teardown", data={"teardown_results": True})
    assert on(lab, "compute-2", "ls -d /var/lib/shoal 2>/dev/null || true") == ""
    on(lab, "compute-1", "rm /videos/own.mp4")
    # Typed again after that, everything comes back.
    assert deploy(lab).changed > 0
    assert changed(deploy(lab)) == []
