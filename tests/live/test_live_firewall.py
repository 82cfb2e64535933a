"""Role `firewall` on the machines: closed where what goes on between the nodes is on the mesh, not there elsewhere."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from shoal.cluster import overlay

pytestmark = pytest.mark.live

TABLE = "inet shoal_firewall"
UNIT = "shoal-firewall.service"
LOOK_TIMEOUT_S = 3.0
OURS = (1234, 1235, 4222, 5000, 6001, 8438, 41641)
"""TCP ports of what shoal puts on machines; none may answer from outside."""


@pytest.fixture
def closed(live_cluster):
    note = overlay.load(live_cluster.name) if live_cluster.mesh == "tailscale" else None
    if note is None or not note.services:
        pytest.skip("what the nodes say to each other is not on a mesh, so there is no firewall")


def chain(machine, name):
    listed = json.loads(machine.check_output(f"nft -j list chain {TABLE} {name}"))["nftables"]
    head = next(entry["chain"] for entry in listed if "chain" in entry)
    return head, [entry["rule"] for entry in listed if "rule" in entry]


def test_what_is_not_let_in_is_dropped(machine, closed):
    head, rules = chain(machine, "input")
    assert (head["hook"], head["policy"]) == ("input", "drop")
    assert rules


def test_published_ports_of_containers_end_here(machine, closed):
    _, rules = chain(machine, "forward")
    assert "dnat" in json.dumps(rules[-1])
    assert "drop" in json.dumps(rules[-1])


def test_it_is_there_at_the_next_boot_and_no_clock_takes_it_back(machine, closed):
    assert machine.service(UNIT).is_enabled
    assert machine.file("/etc/shoal/firewall.nft").mode == 0o600
    assert not machine.file("/etc/shoal/firewall.nft.new").exists
    assert not machine.service("shoal-firewall-rollback.timer").is_running
    kept = machine.check_output("nft -c -f /etc/shoal/firewall.nft && grep -o 'set_[0-9a-f]*' /etc/shoal/firewall.nft")
    assert machine.run(f"nft list chain {TABLE} {kept}").rc == 0  # in the kernel is what the next boot loads


def test_docker_keeps_its_own_rules(machine, closed):
    if not machine.exists("docker"):
        pytest.skip("there is no engine")
    assert "DOCKER" in machine.check_output("iptables -S FORWARD")


def test_nothing_of_ours_answers_at_the_first_address(machine, closed):
    address = machine.node.first_address or machine.node.address

    def answers(port):
        try:
            with socket.create_connection((address, port), timeout=LOOK_TIMEOUT_S):
                return True
        except OSError:
            return False

    with ThreadPoolExecutor(max_workers=len(OURS)) as pool:
        found = [port for port, there in zip(OURS, pool.map(answers, OURS), strict=True) if there]
    assert found == []


def test_without_the_mesh_nothing_of_it_is_there(machine, live_cluster):
    note = overlay.load(live_cluster.name) if live_cluster.mesh == "tailscale" else None
    if note is not None and note.services:
        pytest.skip("this cluster is on a mesh")
    assert not machine.file("/etc/shoal/firewall.nft").exists
    assert not machine.file(f"/etc/systemd/system/{UNIT}").exists
