"""The life of nodes on the real engine: drained in mid-run, taken back, removed, added; the others never touched."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from engine_site import MID_RUN, Site

from shoal.cluster import document as clusters
from shoal.fleet import ready
from shoal.site import sample_clips as samples
from shoal.ssh import client as ssh

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

ONE, TWO = "compute-1", "compute-2"


@pytest.fixture
def document(whole_site: Site, tmp_path: Path) -> Path:
    """A copy of the lab's document, for the verbs that write it."""
    return Path(shutil.copy(whole_site.lab.document, tmp_path / "cluster.json"))


def listed(site: Site, document: Path) -> dict[str, dict[str, object]]:
    done = site.shoal("nodes", "list", "--json", "--cluster", str(document))
    return {node["name"]: node for node in json.loads(done.stdout)["nodes"]}


def starts(site: Site) -> dict[str, str]:
    """When the services of the nodes that are not to be touched were started."""
    units = {"requester": "bacalhau-orchestrator docker shoal-registry", ONE: "bacalhau-compute docker"}
    return {
        node: site.on(node, f"systemctl show -p ExecMainStartTimestampMonotonic --value {names}")
        for node, names in units.items()
    }


def test_drain_waits_and_add_takes_back(whole_site: Site, document: Path) -> None:
    before = starts(whole_site)
    run = whole_site.run("--stride", "1", "--img", "640", quick=False)
    run.until(rf"{TWO}: .*{MID_RUN}")
    drained = whole_site.shoal("nodes", "drain", TWO, "--cluster", str(document))
    assert drained.returncode == 0, drained.stderr
    assert "waiting for" in drained.stderr
    assert run.end() == 0, run.text  # nothing that ran was ended
    assert run.attempts(TWO) == 1
    state = listed(whole_site, document)[TWO]
    assert (state["drained"], state["serving"], state["containers"]) == (True, False, 0)

    without = whole_site.run()
    assert without.end() == 0, without.text
    assert without.outcomes() == {ONE: "finished"}
    assert f"{TWO}: is drained and gets no run" in without.text
    named = whole_site.run("--node", TWO)
    assert named.end() == 2, named.text
    assert f"drained, and given no run: {TWO}" in named.text
    # Deployed again, it is left as it is.
    whole_site.deploy()
    assert listed(whole_site, document)[TWO]["serving"] is False

    added = whole_site.shoal("nodes", "add", TWO, "--cluster", str(document))
    assert added.returncode == 0, added.stderr
    state = listed(whole_site, document)[TWO]
    assert (state["drained"], state["engine"]) == (False, "connected")
    assert starts(whole_site) == before


def test_a_node_drained_with_an_unfinished_run_is_given_nothing_until_it_is_back(
    whole_site: Site, document: Path
) -> None:
    run = whole_site.run("--attempts", "1", "--timeout", "6", "--stride", "1", "--img", "640", quick=False)
    assert run.end() == 3, run.text
    assert set(run.outcomes().values()) == {"timed_out"}
    drained = whole_site.shoal("nodes", "drain", TWO, "--cluster", str(document))
    assert drained.returncode == 0, drained.stderr
    begun = time.monotonic()
    again = whole_site.run("--timeout", "900", resume=run.id)
    assert again.end() == 3, again.text
    assert again.outcomes() == {ONE: "finished", TWO: "drained"}
    assert f"{TWO}: drained: given no run; `shoal nodes add {TWO}` takes it back" in again.text
    assert whole_site.on(TWO, "docker ps --quiet") == ""
    # Nobody waited for the drained node; the other one's share took what it takes.
    told = next(at for at, line in again.lines if f"{TWO}: drained" in line)
    assert told < 60, f"{told} s of {time.monotonic() - begun} s"
    added = whole_site.shoal("nodes", "add", TWO, "--cluster", str(document))
    assert added.returncode == 0, added.stderr
    last = whole_site.run("--timeout", "900", resume=run.id)
    assert last.end() == 0, last.text
    assert last.outcomes() == {ONE: "finished", TWO: "finished"}


def test_remove_and_add_a_node(whole_site: Site, document: Path) -> None:
    before = starts(whole_site)
    removed = whole_site.shoal("nodes", "remove", TWO, "--cluster", str(document))
    assert removed.returncode == 0, removed.stderr
    assert [node.name for node in clusters.load(document).compute] == [ONE]
    assert set(listed(whole_site, document)) == {"requester", ONE}  # the orchestrator has forgotten it too
    left = whole_site.on(TWO, "ls -d /etc/bacalhau /var/lib/bacalhau /usr/local/lib/shoal/bacalhau 2>/dev/null; true")
    assert left == ""
    node = whole_site.lab.cluster.node(TWO)
    added = whole_site.shoal(
        "nodes", "add", f"{TWO}={node.user}@{node.address}", "--label", "site=lab", "--cluster", str(document)
    )
    assert added.returncode == 0, added.stderr
    assert "connected, approved" in added.stderr
    assert listed(whole_site, document)[TWO]["engine"] == "connected"
    assert starts(whole_site) == before
    run = whole_site.run()
    assert run.end() == 0, run.text


def test_a_removed_node_leaves_no_entry_beside_one_whose_name_begins_alike(whole_site: Site, document: Path) -> None:
    """The second machine becomes `compute-10`; then `compute-1` goes, and the engine tells the two apart."""
    node = whole_site.lab.cluster.node(TWO)
    gone = whole_site.shoal("nodes", "remove", TWO, "--cluster", str(document))
    assert gone.returncode == 0, gone.stderr
    added = whole_site.shoal("nodes", "add", f"compute-10={node.user}@{node.address}", "--cluster", str(document))
    assert added.returncode == 0, added.stderr
    clip = samples.sample_clips()[0].path.read_bytes()
    try:
        # The site's clips went with the name that they were meant for.
        ssh.run(whole_site.lab.cluster, node, "sh", "-c", "cat >/videos/gate.mp4", root=True, stdin=clip)
        assert listed(whole_site, document)["compute-10"]["engine"] == "connected"
        removed = whole_site.shoal("nodes", "remove", ONE, "--cluster", str(document))
        assert removed.returncode == 0, removed.stderr
        there = listed(whole_site, document)
        assert set(there) == {"requester", "compute-10"}
        assert there["compute-10"]["engine"] == "connected"
        run = whole_site.run("--cluster", str(document), "--node", "compute-10")
        assert run.end() == 0, run.text
        assert run.outcomes() == {"compute-10": "finished"}
    finally:
        # Both again under their own names, which the next deploy sees to once this one is forgotten.
        back = whole_site.lab.cluster.node(ONE)
        whole_site.shoal("nodes", "add", f"{ONE}={back.user}@{back.address}", "--cluster", str(document))
        last = whole_site.shoal("nodes", "remove", "compute-10", "--cluster", str(document))
        whole_site.on(TWO, "rm -f /videos/gate.mp4")
    assert last.returncode == 0, last.stderr
    assert set(listed(whole_site, document)) == {"requester", ONE}


def test_the_last_node_cannot_be_removed(whole_site: Site, document: Path) -> None:
    refused = whole_site.shoal("nodes", "remove", ONE, TWO, "--cluster", str(document))
    assert refused.returncode == 2
    assert "compute" in refused.stderr
    assert len(clusters.load(document).compute) == 2


def test_approval(whole_site: Site, document: Path) -> None:
    """With manual approval a node waits; the deploy says so by name and `approve` lets it in."""
    whole_site.deploy(bacalhau_manual_approval=True)
    try:
        # Known nodes stay approved; one that the orchestrator forgot comes back as a stranger.
        whole_site.on(TWO, "systemctl stop bacalhau-compute")
        gone = whole_site.shoal("nodes", "remove", TWO, "--gone", "--cluster", str(document))
        assert gone.returncode == 0, gone.stderr
        whole_site.on(TWO, "systemctl start bacalhau-compute")
        shutil.copy(whole_site.lab.document, document)
        for _ in range(60):
            if listed(whole_site, document)[TWO]["engine"] == "pending":
                break
        assert listed(whole_site, document)[TWO]["engine"] == "pending"
        # The deploy is done with it as it is, and its last words name who waits and for what.
        whole_site.deploy(bacalhau_manual_approval=True)
        said: list[str] = []
        ready.await_ready(whole_site.lab.cluster, [ONE, TWO], said.append)
        assert [line for line in said if line.startswith(f"{TWO}: ") and f"`shoal nodes approve {TWO}`" in line], said
        for _ in range(2):  # the second time is no error
            approved = whole_site.shoal("nodes", "approve", TWO, "--cluster", str(document))
            assert approved.returncode == 0, approved.stderr
        assert listed(whole_site, document)[TWO]["engine"] == "connected"
    finally:
        whole_site.deploy(bacalhau_manual_approval=False)


def test_a_second_deploy_changes_nothing(whole_site: Site) -> None:
    whole_site.deploy()
    again = whole_site.deploy()
    assert [operation.name for operation in again.operations if operation.changed] == []


def test_the_makers_own_job_is_taken_by_the_engine(whole_site: Site) -> None:
    """Rendered, handed in and accepted; the image itself is not on the nodes here."""
    from shoal import jobs
    from shoal.engines.bacalhau import connect

    values = jobs.Values(
        run="upstream", attempt=1, image=jobs.DEFAULT_IMAGES["yolov5-upstream"], weights_name="yolov5x",
        weights_sha256="0" * 64, cpu="1", memory="1GB", timeout_s=60, knobs={"conf": 0.7, "classes": "1,2,3"},
        constraints=[jobs.only_nodes([ONE])],
    )  # fmt: skip
    document = jobs.render("yolov5-upstream", values).to_document()
    document["Name"] = f"shoal-upstream-{whole_site.runs.parent.name}".lower().replace("_", "-")[:60]
    with connect.client_for(whole_site.lab.cluster) as client:
        accepted = client.submit(document)
        assert accepted.warnings == []
        view = client.job(accepted.job_id)
        assert view.job.name == document["Name"]
        client.stop(accepted.job_id, "asked")
