"""Role `tailscale` on the machines, where the cluster has a mesh."""

from __future__ import annotations

import ipaddress
import json

import pytest

pytestmark = pytest.mark.live

TAILNET = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48"))


@pytest.fixture(autouse=True)
def _with_a_mesh(live_cluster):
    if live_cluster.mesh != "tailscale":
        pytest.skip("this cluster has no mesh")


def status(machine):
    return json.loads(machine.check_output("timeout 20 tailscale status --json"))


def test_daemon_runs_and_starts_at_boot(machine):
    service = machine.service("tailscaled.service")
    assert service.is_running
    assert service.is_enabled


def test_node_is_on_the_tailnet_with_its_tags(machine):
    said = status(machine)
    assert said["BackendState"] == "Running"
    assert said["Self"]["Online"]
    assert said["Self"]["Tags"]
    assert not said["Self"].get("Expired")
    addresses = [ipaddress.ip_address(each) for each in said["Self"]["TailscaleIPs"]]
    assert addresses
    assert all(any(address in network for network in TAILNET) for address in addresses)
    if machine.node.first_address is not None:
        # It has moved: that is where it is reached, by its address or by its name.
        known = {*map(str, addresses), said["Self"]["DNSName"].rstrip(".")}
        assert machine.node.address in known


def test_its_address_is_on_a_network_device(machine):
    said = status(machine)
    if not said.get("TUN", True):
        pytest.skip("userspace mode: there is no device")
    shown = machine.check_output("ip -o addr show dev tailscale0")
    assert all(address in shown for address in said["Self"]["TailscaleIPs"])


def test_its_identity_is_private(machine):
    folder = machine.file("/var/lib/tailscale")
    assert (folder.user, folder.mode) == ("root", 0o700)
    assert machine.file("/var/lib/tailscale/tailscaled.state").mode == 0o600


def test_no_key_is_left_on_the_machine(machine):
    # The brackets keep the search from finding itself; the count is of lines, never their text.
    pattern = "[th]skey-[ac]"
    assert machine.check_output("find /run -maxdepth 1 -name 'shoal-tailscale-*'") == ""
    for command in (
        f"journalctl --no-pager -o cat | grep -cE '{pattern}' || true",
        f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -caE '{pattern}' || true",
        f"cat /etc/default/tailscaled | grep -cE '{pattern}' || true",
    ):
        assert machine.check_output(command) == "0"


def test_compute_nodes_hear_the_requester(worker, live_cluster):
    if worker.node.name == live_cluster.requester.name:
        pytest.skip("this machine is the requester")
    peers = status(worker).get("Peer") or {}
    names = {peer["HostName"] for peer in peers.values() if peer.get("Online")}
    assert live_cluster.requester.name in names
