"""`up edge`, `bootstrap edge`, a run and `destroy edge`, with a lab's machines as boxes that exist."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lab_under_test import Lab

from shoal import site
from shoal.deploys import run_deploy
from shoal.lab.progress import to_stderr
from shoal.paths import repository
from tests.stacks.pulumi_cli import NoEngineError, pulumi_root

pytestmark = [pytest.mark.lab, pytest.mark.stacks_engine, pytest.mark.timeout(1800)]


def test_registered_boxes_go_from_up_to_detections_and_are_forgotten(lab: Lab, tmp_path: Path) -> None:
    try:
        engine = pulumi_root()
    except NoEngineError as missing:
        pytest.skip(f"no Pulumi engine: {missing}")
    # What a box has before: here the lab's deploy, since inner engines of a lab need its resolver for the image.
    site.prepare(lab.cluster)
    run_deploy(lab.document, "site", say=to_stderr)

    access = lab.cluster.ssh
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
        }
        for number, node in enumerate(lab.cluster.nodes)
    ]
    wanted = tmp_path / "boxes.yaml"
    wanted.write_text(yaml.safe_dump({"name": "quay", "identityFile": str(access.identity_file), "boxes": boxes}))
    for name in ("Pulumi.yaml", "__main__.py"):
        target = tmp_path / "stacks" / "edge" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((repository() / "stacks" / "edge" / name).read_bytes())
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

    def shoal(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "shoal", *words],
            cwd=repository(), env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr[-3000:]
        return done.stdout

    shoal("up", "edge", "--settings", str(wanted))
    shoal("bootstrap", "edge")
    drift = json.loads(shoal("drift", "edge", "--json"))
    assert drift["clean"] is True
    document = shoal("cluster", "where", "edge").strip()
    record = json.loads(shoal("run", "--cluster", document, "--stride", "10", "--json"))
    assert record["cluster"] == "quay"
    assert {name: node["outcome"] for name, node in record["nodes"].items()} == {
        f"box-{number}": "finished" for number, node in enumerate(lab.cluster.nodes) if node.has_role("compute")
    }
    results = list((tmp_path / "runs").glob("*/box-*/manifest.json"))
    assert len(results) == len(lab.cluster.compute)

    receipt = json.loads(shoal("destroy", "edge", "--json"))
    assert receipt["clean"] is True
    left = [path for path in (tmp_path / "state").rglob("*") if path.is_file() and b"box-1" in path.read_bytes()]
    assert [path for path in left if "pulumi" in path.parts or "clusters" in path.parts] == []
