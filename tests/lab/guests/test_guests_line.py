"""Lines that real sites have: 300 ms there and back, and machines that are away for a while during a deploy."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from lab_under_test import Lab
from plant import FILES, Plant, changed, registered, site_document

from shoal.check.examine import examine
from shoal.cluster import reach as reaches
from shoal.cluster.document import SshAccess
from shoal.deploys.run import DeployResult, run_deploy
from shoal.errors import ShoalError
from shoal.site.document import SiteDocument
from shoal.ssh import client as ssh
from shoal.telling import to_stderr

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

NODES = ("requester", "compute-1")
BEFORE_THE_LONG_STEP = "compute-1: docker | Configure the engine: changed"
"""The next one installs the engine, which takes a while."""
SHORT_S = 15.0
LONG_S = 75.0
"""A connection counts as lost when three questions of ten seconds each had no answer."""


def timed(what: str, begun: float) -> None:
    to_stderr(f"300 ms: {what} took {time.monotonic() - begun:.1f} s")


def test_a_site_over_a_line_of_300_ms(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = SshAccess(
        identity_file=lab.cluster.ssh.identity_file,
        known_hosts_file=lab.cluster.ssh.known_hosts_file,
        config_file=None,
        proxy_command=f"{sys.executable} {FILES / 'slow_line.py'} 300 %h %p",
        mesh_proxy_command=None,
    )
    plant = registered(lab.cluster.model_copy(update={"ssh": access}), "faraway", tmp_path, NODES)
    monkeypatch.setenv("SHOAL_SITE", str(site_document(plant, tmp_path)))
    begun = time.monotonic()
    ssh.run(plant.cluster, plant.cluster.node("compute-1"), "true")
    assert time.monotonic() - begun > 1.0, "a login needs several ways there and back"
    begun = time.monotonic()
    report = examine(plant.cluster, [*NODES], SiteDocument(cluster="faraway"), bacalhau=False, knobs={})
    timed("the look", begun)
    assert [entry.what for entry in report.in_the_way] == []
    for what in ("site", "site", "teardown"):
        begun = time.monotonic()
        result = plant.deploy(what)
        timed(f"{what} ({result.changed} changed)", begun)
        if what == "site":
            done = result
    assert changed(done) == []
    ssh.close(plant.cluster)


@pytest.fixture
def plant(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    made = registered(lab.cluster, "moving", tmp_path, NODES)
    monkeypatch.setenv("SHOAL_SITE", str(site_document(made, tmp_path)))
    return made


def _cable(plant: Plant, node: str) -> str:
    """This machine's end of the node's network cable."""
    number = plant.on(node, "cat /sys/class/net/eth0/iflink")
    lines = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
    (line,) = [line for line in lines if line.startswith(f"{number}: ")]
    return line.split()[1].partition("@")[0]


def _deploy_without(plant: Plant, seconds: float) -> DeployResult:
    """A deploy in which the network of compute-1 is away for a while; what is sent meanwhile is dropped."""
    cable = _cable(plant, "compute-1")
    back = threading.Timer(seconds, lambda: subprocess.run(["ip", "link", "set", cable, "up"], check=True))

    def say(line: str) -> None:
        to_stderr(line)
        if BEFORE_THE_LONG_STEP in line:
            subprocess.run(["ip", "link", "set", cable, "down"], check=True)
            back.start()

    try:
        return run_deploy(reaches.load(plant.document), "site", say=say, timeout_s=800)
    finally:
        assert back.ident is not None, "the network was never away"
        back.join()


def test_a_short_absence_is_waited_out(plant: Plant) -> None:
    result = _deploy_without(plant, SHORT_S)
    assert result.failed_hosts == ()
    assert changed(plant.deploy()) == []
    plant.deploy("teardown")


def test_after_a_long_absence_the_same_command_finishes_what_was_begun(plant: Plant) -> None:
    with pytest.raises(ShoalError) as caught:
        _deploy_without(plant, LONG_S)
    assert "compute-1" in str(caught.value)
    assert "the connection was lost" in str(caught.value)
    # The requester was not kept waiting for it.
    assert plant.holds("requester", "systemctl is-active -q shoal-registry-read")
    ssh.close(plant.cluster)
    # Where it was still away at the deploy's end, its lock stayed; one whose holder is at work is never broken.
    plant.deploy(break_lock=True)
    assert changed(plant.deploy()) == []
    plant.deploy("teardown")
    assert not plant.holds("compute-1", "[ -e /var/lib/shoal ]")
