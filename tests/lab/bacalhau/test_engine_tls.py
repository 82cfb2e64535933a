"""The port for nodes on the real engine: from plain to encrypted without losing a run, renewed by a deploy, rotated."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from engine_site import MID_RUN, REPOSITORY, Run, Site, detections

from shoal.engines.bacalhau import secrets, tls
from shoal.engines.bacalhau.secrets import Tokens

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

ONE, TWO = "compute-1", "compute-2"
GREETING = """python3 -c "
import json, socket
way = socket.create_connection(('{address}', 4222), timeout=10)
info = json.loads(way.makefile('rb').readline().partition(b' ')[2])
print('encrypted' if info.get('tls_required') else 'plain')
" """
LOST = "/tmp/lost-compute.yaml"
STARTED = "systemctl show -p ExecMainStartTimestampMonotonic --value bacalhau-{part}"


def greeting(site: Site) -> str:
    """What the orchestrator's port says to whoever comes, asked from a compute node."""
    return site.on(ONE, GREETING.format(address=site.lab.cluster.requester.address)).strip()


def until(condition: Callable[[], object], what: str, limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(1)


def heard(site: Site) -> bool:
    listed = site.shoal("nodes", "list", "--json", "--cluster", str(site.lab.document))
    there = {node["name"]: node["engine"] for node in json.loads(listed.stdout or '{"nodes": []}')["nodes"]}
    return (there.get(ONE), there.get(TWO)) == ("connected", "connected")


def made_plain(site: Site) -> None:
    """As an earlier version deployed it: no certificates, and no TLS in the settings of either service."""
    site.configure("requester", "orchestrator", "c['Orchestrator'].pop('TLS')")
    for node in (ONE, TWO):
        site.configure(node, "compute", "c['Compute'].pop('TLS')")
    for node in ("requester", ONE, TWO):
        site.on(node, "rm -f /etc/bacalhau/*.pem /etc/bacalhau/*.key")
    tokens = secrets.load(site.lab.name)
    assert tokens is not None
    secrets.restore(site.lab.name, tokens.model_copy(update={"tls": None}))
    until(lambda: heard(site), "the nodes never came to the plain orchestrator")
    assert greeting(site) == "plain"


LONG = ["--stride", "1", "--img", "640"]
"""Longer than a deploy takes that finds jobs and changes nothing."""


def home_whole(run: Run) -> None:
    """Every video of both nodes is home, with every frame once."""
    assert run.outcomes() == {ONE: "finished", TWO: "finished"}, run.text
    assert {node: len(videos) for node, videos in detections(run).items()} == {ONE: 6, TWO: 6}
    for path in run.folder.glob("*/videos/*/summary.json"):
        summary = json.loads(path.read_text())
        assert summary["frames_inferred"] == summary["frames"] > 0


def deploy(site: Site, *words: str) -> tuple[int, str]:
    done = site.shoal("site", "deploy", "--engine", "bacalhau", "--cluster", str(site.lab.document), *words)
    return done.returncode, done.stdout + done.stderr


def test_a_plain_cluster_goes_over_without_losing_a_run(whole_site: Site, seen: list[str]) -> None:
    made_plain(whole_site)
    run = whole_site.run(*LONG, quick=False)
    run.until(rf"{ONE}: .*{MID_RUN}")
    # As for every changed setting: not in the middle of a run, and then nothing is touched.
    code, told = deploy(whole_site)
    assert code == 1, told
    assert "jobs run" in told
    assert greeting(whole_site) == "plain"
    # Unless asked to: the run is given again what it lost by that, and comes home whole all the same.
    begun = time.monotonic()
    code, told = deploy(whole_site, "--force")
    assert code == 0, told
    assert greeting(whole_site) == "encrypted"
    assert run.end() == 0, run.text
    home_whole(run)
    seen.append(f"went over in {time.monotonic() - begun:.0f} s, the run was whole after {run.seconds:.0f} s")
    code, told = deploy(whole_site)
    assert (code, ": 0 changed, " in told) == (0, True), told


def test_an_open_run_is_finished_after_its_plain_cluster_went_over(whole_site: Site, seen: list[str]) -> None:
    made_plain(whole_site)
    run = whole_site.run(*LONG, quick=False)
    run.until(rf"{ONE}: .*{MID_RUN}")
    run.kill()
    code, told = deploy(whole_site, "--force")
    assert code == 0, told
    again = whole_site.run(resume=run.id)
    assert again.end() == 0, again.text
    home_whole(again)
    seen.append(f"`resume` was whole after {again.seconds:.0f} s")


def about_to_end(tokens: Tokens, site: Site) -> Tokens:
    """With a certificate of the same authority that was made long ago, and ends in 30 days."""
    made = datetime.now(UTC) - timedelta(days=tls.SERVER_DAYS - 30)
    assert tokens.tls is not None
    old = tls.current(tokens.tls, site.lab.name, ["never.invalid"], now=made)
    assert old.authority_certificate == tokens.tls.authority_certificate
    return tokens.model_copy(update={"tls": old})


def test_a_deploy_renews_a_certificate_that_ends_soon_and_asks_nothing_of_nodes(
    whole_site: Site, seen: list[str]
) -> None:
    tokens = secrets.load(whole_site.lab.name)
    assert tokens is not None
    secrets.restore(whole_site.lab.name, about_to_end(tokens, whole_site))
    parts = {"requester": "orchestrator", ONE: "compute", TWO: "compute"}
    before = {node: whole_site.on(node, STARTED.format(part=part)) for node, part in parts.items()}
    code, told = deploy(whole_site)
    assert code == 0, told
    after = {node: whole_site.on(node, STARTED.format(part=part)) for node, part in parts.items()}
    assert {node for node in parts if before[node] != after[node]} == {"requester"}
    renewed = secrets.load(whole_site.lab.name)
    assert renewed is not None
    assert renewed.tls is not None
    assert tls.ends(renewed.tls) > datetime.now(UTC) + timedelta(days=tls.SERVER_DAYS - 2)
    until(lambda: heard(whole_site), "the nodes never came to the orchestrator with its new certificate")
    run = whole_site.run()
    assert run.end() == 0, run.text
    seen.append("only the orchestrator was restarted")


def test_rotation_leaves_runs_alone_and_the_old_token_opens_nothing(whole_site: Site, seen: list[str]) -> None:
    before = secrets.load(whole_site.lab.name)
    assert before is not None
    run = whole_site.run(*LONG, quick=False)
    run.until(rf"{ONE}: .*{MID_RUN}")
    refused = whole_site.shoal("site", "rotate", "--cluster", str(whole_site.lab.document))
    assert refused.returncode == 2, refused.stderr
    assert "nothing was changed" in refused.stderr
    assert secrets.load(whole_site.lab.name) == before
    assert run.end() == 0, run.text
    whole_site.on(ONE, f"cp /etc/bacalhau/compute.yaml {LOST}")
    begun = time.monotonic()
    done = whole_site.shoal("site", "rotate", "--cluster", str(whole_site.lab.document))
    assert done.returncode == 0, done.stderr
    took_s = time.monotonic() - begun
    after = secrets.load(whole_site.lab.name)
    assert after is not None
    assert before.tls is not None
    assert after.tls is not None
    assert after.node_token != before.node_token
    assert after.tls.authority_certificate != before.tls.authority_certificate
    # What a node that was lost still has opens nothing, whatever certificate it would take.
    attack = (REPOSITORY / "tests/lab/security/nats_attack.py").read_text(encoding="utf-8")
    listening = attack.replace("/etc/bacalhau/compute.yaml", LOST)
    told = whole_site.on(ONE, f"python3 - listen 2 trusting 2>&1 <<'END' || echo ended with $?\n{listening}\nEND")
    whole_site.on(ONE, f"rm {LOST}")
    assert "ended with 3" in told, told
    until(lambda: heard(whole_site), "the nodes never came with their new token")
    again = whole_site.run()
    assert again.end() == 0, again.text
    assert set(again.outcomes().values()) == {"finished"}
    seen.append(f"rotated in {took_s:.0f} s")
