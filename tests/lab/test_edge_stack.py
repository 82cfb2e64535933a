"""`up edge` to `destroy edge` with a lab's bare machines as boxes that exist, each with a camera's folder on it.

With `SHOAL_BACALHAU_BINARY` it goes over the real engine, else over ssh.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab_under_test import Lab

from shoal.cluster.document import Node
from shoal.engines.bacalhau import release, secrets
from shoal.paths import cache_dir, repository
from shoal.site import sample_clips as samples
from shoal.ssh import client as ssh
from tests import own_folders
from tests.stacks.pulumi_cli import NoEngineError, pulumi_root

pytestmark = [pytest.mark.lab, pytest.mark.stacks_engine, pytest.mark.timeout(1800)]

CAMERA = "/srv/cameras/north-2"
SHOWN = "/videos/cameras/srv_cameras_north-2"
UNIT = r"videos-cameras-srv_cameras_north\x2d2.mount"
CLIP = "2026/gate.mp4"
BOOT_TIMEOUT_S = 120.0


@dataclass
class Boxes:
    """The lab's machines as boxes, and a control machine of their own."""

    lab: Lab
    folder: Path
    environment: dict[str, str]

    def shoal(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "shoal", *words],
            cwd=repository(), env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr[-3000:]
        return done.stdout

    def told(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.shoal(*words, "--json", code=code))

    def on(self, node: Node, script: str, *, stdin: bytes | None = None, check: bool = True) -> ssh.Completed:
        return ssh.run(self.lab.cluster, node, "sh", "-c", script, root=True, stdin=stdin, check=check, timeout_s=120)

    def write(self, **more: Any) -> Path:
        """The settings: every machine a box, compute nodes with their camera's folder."""
        access = self.lab.cluster.ssh
        assert access.known_hosts_file is not None
        keys = {}
        for line in access.known_hosts_file.read_text().splitlines():
            places, kind, body = line.split()[:3]
            keys |= dict.fromkeys(places.split(","), f"{kind} {body}")
        boxes = [
            {
                "name": f"box-{number}",
                "address": node.address,
                "port": node.port,
                "user": node.user,
                "arch": node.arch,
                "roles": list(node.roles),
                "hostKey": keys[node.address],
                **({"clusterAddress": node.cluster_address} if node.cluster_address else {}),
                **({"cameraFolders": [CAMERA]} if node.has_role("compute") else {}),
                **more.get(f"box-{number}", {}),
            }
            for number, node in enumerate(self.lab.cluster.nodes)
        ]
        path = self.folder / "boxes.yaml"
        path.write_text(yaml.safe_dump({"name": "quay", "identityFile": str(access.identity_file), "boxes": boxes}))
        return path


@pytest.fixture
def boxes(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boxes:
    try:
        engine = pulumi_root()
    except NoEngineError as missing:
        pytest.skip(f"no Pulumi engine: {missing}")
    for name in ("Pulumi.yaml", "__main__.py"):
        target = tmp_path / "stacks" / "edge" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((repository() / "stacks" / "edge" / name).read_bytes())
    clips = samples.sample_clips()
    # Of its own, whatever engine's program other tests have put into the session's: which one is meant is decided here.
    own_folders.share(cache_dir(), tmp_path / "cache")
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    if binary := os.environ.get("SHOAL_BACALHAU_BINARY"):
        release.add(Path(binary))
    environment = {
        **os.environ,
        "PATH": f"{engine / 'bin'}:{os.environ['PATH']}",
        "PULUMI_HOME": str(tmp_path / "home"),
        "SHOAL_STATE": str(tmp_path / "state"),
        "SHOAL_RUNS": str(tmp_path / "runs"),
        "SHOAL_STACKS": str(tmp_path / "stacks"),
    }
    environment.pop("SHOAL_CLUSTER", None)
    environment.pop("SHOAL_SITE", None)
    made = Boxes(lab, tmp_path, environment)
    # What a box of a lab's network has before: the containers' way out, for the image that is built on it.
    daemon = json.dumps({"dns": list(lab.facts.dns), "mtu": lab.facts.mtu}).encode()
    for node in lab.cluster.nodes:
        made.on(node, "mkdir -p /etc/docker && cat >/etc/docker/daemon.json", stdin=daemon)
    for node in lab.cluster.compute:
        footage = clips[0].path.read_bytes()
        made.on(node, f"mkdir -p {CAMERA}/2026 && cat >{CAMERA}/{CLIP}", stdin=footage)
    return made


def test_registered_boxes_go_from_up_to_detections_and_are_forgotten(boxes: Boxes) -> None:
    lab = boxes.lab
    names = {node.name: f"box-{number}" for number, node in enumerate(lab.cluster.nodes)}
    compute = [names[node.name] for node in lab.cluster.compute]
    with_engine = "SHOAL_BACALHAU_BINARY" in boxes.environment
    state = Path(boxes.environment["SHOAL_STATE"])

    boxes.shoal("up", "edge", "--settings", str(boxes.write()))
    boxes.shoal("bootstrap", "edge")
    assert boxes.told("drift", "edge")["clean"] is True
    document = boxes.shoal("cluster", "where", "edge").strip()
    assert boxes.told("site", "deploy", "--cluster", document)["changed"] == 0

    # The camera's folder is shown, read-only, where no clip of ours is; also after a boot.
    for node in lab.cluster.compute:
        assert (
            boxes.on(node, "cd /videos && find . -name '*.mp4'").text == f"./cameras/{SHOWN.rpartition('/')[2]}/{CLIP}"
        )
    boot(boxes, lab.cluster.compute[0])
    for node in lab.cluster.compute:
        refused = boxes.on(node, f"touch {SHOWN}/x", check=False)
        assert refused.exit_code != 0
        assert "Read-only file system" in refused.stderr

    # The run looks at the footage where it lies.
    record = boxes.told("run", "--cluster", document, "--stride", "10")
    assert record["cluster"] == "quay"
    assert record["engine"] == ("bacalhau" if with_engine else "ssh")
    assert {name: node["outcome"] for name, node in record["nodes"].items()} == dict.fromkeys(compute, "finished")
    for name in compute:
        (home,) = (boxes.folder / "runs").glob(f"*/{name}")
        summary = json.loads((home / "summary.json").read_text())
        assert f"cameras/{SHOWN.rpartition('/')[2]}/{CLIP}" in json.dumps(summary)

    if with_engine:  # the nodes came with the token that the stack keeps
        kept = secrets.Tokens.model_validate_json((state / "secrets" / "quay.json").read_text())
        outputs = pulumi_outputs(boxes)
        assert kept.node_token.get_secret_value() == outputs["secrets"]["orchestratorToken"]

    # A folder that is not listed any more is taken out; teardown takes the other out. The footage stays.
    first, second = lab.cluster.compute
    boxes.shoal("up", "edge", "--settings", str(boxes.write(**{names[first.name]: {"cameraFolders": []}})))
    boxes.shoal("site", "deploy", "--cluster", document)
    assert not shown(boxes, first)
    assert shown(boxes, second)
    boxes.shoal("site", "teardown", "--cluster", document, "--limit", names[second.name], "--keep-docker")
    assert not shown(boxes, second)
    for node in (first, second):
        assert boxes.on(node, f"ls {CAMERA}/{CLIP}; ls -d /videos/cameras || true").text == f"{CAMERA}/{CLIP}"
        assert boxes.on(node, f"ls /etc/systemd/system/{shlex.quote(UNIT)} || true").text == ""

    receipt = boxes.told("destroy", "edge")
    assert receipt["clean"] is True
    assert sorted(receipt["drained"]) == sorted(compute)
    assert receipt["not_done"] == []
    assert receipt["off_engine"] == (sorted(compute) if with_engine else [])
    assert boxes.on(first, "test ! -e /var/lib/shoal/drained && echo unmarked").text == "unmarked"
    left = [path for path in state.rglob("*") if path.is_file() and b"box-1" in path.read_bytes()]
    assert [path for path in left if {"pulumi", "clusters", "sites", "secrets"} & set(path.parts)] == []


def pulumi_outputs(boxes: Boxes) -> Any:
    """The stack's outputs with its secrets, asked in a process with the boxes' own folders."""
    script = (
        "import json; from shoal.cloud import pulumi; "
        "print(json.dumps(pulumi.outputs(pulumi.find('edge'), secret=True)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=repository(), env=boxes.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def boot(boxes: Boxes, node: Node) -> None:
    """Boot a machine anew, and wait for its mount and its engine."""
    machine = f"shoal-{boxes.lab.name}-{node.name}"
    subprocess.run(["docker", "restart", machine], check=True, capture_output=True)
    wanted = ["systemctl", "is-active", UNIT, "docker.service", "ssh.service"]
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while True:
        # By the lab's engine: sshd may not be there yet.
        told = subprocess.run(["docker", "exec", machine, *wanted], capture_output=True, text=True, check=False).stdout
        if told.split() == ["active"] * 3:
            return
        assert time.monotonic() < deadline, told
        time.sleep(0.5)


def shown(boxes: Boxes, node: Node) -> bool:
    return boxes.on(node, f"grep -c ' {SHOWN} ' /proc/self/mountinfo || true").text != "0"


def test_a_camera_folder_that_is_not_there_is_told_with_its_box(boxes: Boxes) -> None:
    missing = {"box-1": {"cameraFolders": ["/srv/cameras/none"]}}
    boxes.shoal("up", "edge", "--settings", str(boxes.write(**missing)))
    done = subprocess.run(
        [sys.executable, "-m", "shoal", "bootstrap", "edge"],
        cwd=repository(), env=boxes.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "box-1: videos: there is no camera folder /srv/cameras/none" in done.stderr
    assert "Traceback" not in done.stderr
    assert boxes.told("destroy", "edge")["clean"] is True
