"""Footage on real file systems that are none of Linux's: a disk with exFAT, a folder of another machine that stops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_under_test import Lab
from lived_in import Gateways, in_the_way, told
from plant import Plant, changed, registered, site_document
from real_mounts import network_folder, usb_stick

from shoal.check.finding import Level
from shoal.ssh import client as ssh

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

APT = "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; apt-get -y -qq install --no-install-recommends"
NODES = ("requester", "compute-1")
PURGE = "DEBIAN_FRONTEND=noninteractive apt-get -y -qq purge exfat-fuse exfatprogs sshfs fuse3"


@pytest.fixture(scope="module")
def gateways(lab: Lab) -> Iterator[Gateways]:
    made = Gateways.of(lab)
    made.on("compute-1", f"{{ {APT} exfat-fuse exfatprogs sshfs; }} >/dev/null 2>&1")
    yield made
    ssh.close(made.cluster)
    made.on("compute-1", f"{{ {PURGE}; apt-get -y -qq autoremove --purge; }} >/dev/null 2>&1; rm -f /dev/fuse")
    for node in made.cluster.nodes:
        made.on(node.name, "userdel -rf ops; rm -f /etc/sudoers.d/ops")


@pytest.fixture
def plant(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """A site that places no clips: the footage is the owner's alone."""
    made = registered(lab.cluster, "footage", tmp_path, NODES)
    path = site_document(made, tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"videos": {}}), encoding="utf-8")
    monkeypatch.setenv("SHOAL_SITE", str(path))
    return made


def _deployed_and_taken_away(plant: Plant) -> None:
    plant.on("compute-1", "sha256sum /videos/own.mp4 >/run/own.sha; ls -A /videos >/run/own.list")
    plant.deploy()
    assert changed(plant.deploy()) == []
    plant.deploy("teardown")
    plant.on("compute-1", "sha256sum -c --quiet /run/own.sha; ls -A /videos | diff - /run/own.list")


def test_footage_on_a_disk_with_exfat(gateways: Gateways, plant: Plant) -> None:
    with usb_stick(plant, gateways.lab.name, "compute-1"):
        plant.on("compute-1", "head -c 3000000 /dev/urandom >/videos/own.mp4")
        refused = gateways.look("compute-1", clips=2)
        assert in_the_way(gateways.look("compute-1")) == []
        (line,) = in_the_way(refused)
        assert "/videos is on fuseblk (mounted at /videos), which keeps no owners and modes of ours" in line
        assert "to be placed there: 2 clips" in line
        _deployed_and_taken_away(plant)


def test_footage_in_a_folder_of_another_machine_that_stops_and_goes(gateways: Gateways, plant: Plant) -> None:
    with network_folder(plant, gateways.lab.name, "compute-1", "requester") as serving:
        found = gateways.look("compute-1")
        assert in_the_way(found) == []
        assert any("network file system (fuse.sshfs, mounted at /videos)" in it for it in told(found, Level.WARNING))
        (line,) = in_the_way(gateways.look("compute-1", clips=1))
        assert "keeps no owners and modes of ours; to be placed there: 1 clip" in line
        _deployed_and_taken_away(plant)
        plant.on("requester", "pkill -STOP -u nas sftp-server")
        (line,) = in_the_way(gateways.look("compute-1"))
        assert "/videos does not answer (fuse.sshfs mounted at /videos)" in line
        plant.on("requester", "pkill -CONT -u nas sftp-server")
        assert in_the_way(gateways.look("compute-1")) == []
        # What serves the mount ends, as a program of FUSE does that crashed.
        serving.kill()
        serving.wait(30)
        (line,) = in_the_way(gateways.look("compute-1"))
        assert "/videos cannot be read, not by root either (Transport endpoint is not connected; fuse.sshfs" in line
