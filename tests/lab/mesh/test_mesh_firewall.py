"""The firewall on real machines: in force, refused, and taking itself back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import Mesh
from tailnet import wait_for

from roles.firewall import operations
from roles.firewall.rules import Openings, text
from shoal.cluster import overlay
from shoal.errors import ShoalError
from shoal.ssh import client as ssh

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

DEPLOY = str(Path(__file__).parent / "deploy_firewall.py")
NODE = "compute-1"
TABLE = "nft list table inet shoal_firewall 2>/dev/null"


@pytest.fixture(scope="module", autouse=True)
def joined(mesh: Mesh) -> None:
    mesh.give()
    assert mesh.on().whole


def test_closed_and_still_reached_by_both_addresses(mesh: Mesh) -> None:
    mesh.deploy(DEPLOY, limit=(NODE,))
    first = mesh.first.node(NODE).address
    assert f"ip daddr {first} tcp dport 22 accept" in mesh.sh(NODE, TABLE)
    assert mesh.sh(NODE, "hostname", first=True) == NODE
    assert mesh.deploy(DEPLOY, limit=(NODE,)).changed == 0
    assert mesh.sh(NODE, "systemctl is-enabled shoal-firewall") == "enabled"
    assert mesh.sh(NODE, "ls /run/shoal-firewall 2>/dev/null; true") == ""


def test_it_comes_back_at_boot(mesh: Mesh) -> None:
    mesh.sh(NODE, "nft delete table inet shoal_firewall; systemctl restart shoal-firewall")
    assert "policy drop" in mesh.sh(NODE, TABLE)
    mesh.sh(NODE, "nft delete table inet shoal_firewall")
    assert mesh.deploy(DEPLOY, limit=(NODE,)).changed > 0  # what is missing in the kernel is seen
    assert "policy drop" in mesh.sh(NODE, TABLE)


def test_rules_that_lock_out_the_first_address_are_taken_back_at_once(mesh: Mesh) -> None:
    before = mesh.sh(NODE, TABLE)
    with pytest.raises(ShoalError) as caught:
        mesh.deploy(DEPLOY, limit=(NODE,), firewall_management_addresses=["192.0.2.1"])
    assert "locked us out" in str(caught.value)
    assert mesh.sh(NODE, TABLE) == before
    assert mesh.sh(NODE, "hostname", first=True) == NODE


def test_rules_that_would_cut_the_deploy_are_not_tried(mesh: Mesh) -> None:
    before = mesh.sh(NODE, TABLE)

    note = overlay.path(mesh.first.name)
    kept = note.read_text()
    note.unlink()
    try:
        with pytest.raises(ShoalError) as caught:
            mesh.deploy(DEPLOY, limit=(NODE,), firewall_ssh_ports=[2222])
    finally:
        note.write_text(kept)
    assert "would cut this very connection" in str(caught.value)
    assert mesh.sh(NODE, TABLE) == before


def test_nobody_confirms_and_the_old_rules_come_back_by_themselves(mesh: Mesh) -> None:
    before = mesh.sh(NODE, TABLE)
    wrong = text(Openings(mesh_interface="none0", ssh_ports=(2222,), management=()))
    node = mesh.first.node(NODE)
    put = f"cat >{operations.RULES}.new"
    ssh.run(mesh.first, node, "sh", "-c", put, root=True, stdin=wrong.encode())
    ssh.run(mesh.first, node, "sh", "-c", operations.on_node("apply.sh", "15"), root=True)
    ssh.close(mesh.first)
    argv = ssh.ssh_command(mesh.first, node, "true")
    argv[1:1] = ["-o", "ControlPath=none", "-o", "ConnectTimeout=4"]
    cut = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert cut.returncode == 255, "the wrong rules were not in force at all"
    wait_for(
        "the way in to open again",
        lambda: subprocess.run(argv, capture_output=True, check=False, timeout=30).returncode == 0,
        timeout_s=60,
    )
    assert mesh.sh(NODE, TABLE, first=True) == before


def test_removed_without_a_trace(mesh: Mesh) -> None:
    mesh.deploy("mesh_off", limit=(NODE,))
    files = "/etc/shoal/firewall.nft /etc/systemd/system/shoal-firewall.service"
    assert mesh.sh(NODE, f"{TABLE}; ls -d {files} 2>/dev/null; true") == ""
