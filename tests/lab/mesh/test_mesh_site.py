"""A whole site on the mesh: deployed over it, closed to the outside, running while the control server is away, gone."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import TAGS, Mesh
from mesh_commands import shoal
from tailnet import wait_for

from shoal import site
from shoal.errors import ShoalError
from shoal.mesh import policy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3000)]

CONTROL_DOWN_S = float(os.environ.get("SHOAL_TEST_CONTROL_DOWN_S", "120"))
"""How long the control server is away while a run goes on."""
SCAN_TIMEOUT_S = 0.7


def open_ports(address: str, ports: range) -> set[int]:
    """TCP ports that take a connection from this machine, which is not on the mesh by any device."""

    def attempt(port: int) -> int | None:
        try:
            with socket.create_connection((address, port), timeout=SCAN_TIMEOUT_S):
                return port
        except OSError:
            return None

    with ThreadPoolExecutor(max_workers=800) as pool:
        return {port for port in pool.map(attempt, ports) if port is not None}


def test_a_site_is_deployed_over_the_mesh_and_the_second_time_nothing_changes(mesh: Mesh) -> None:
    mesh.give()
    assert mesh.on().whole
    site.prepare(mesh.cluster)
    done = shoal("site", "deploy", "--cluster", str(mesh.document), "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    again = shoal("site", "deploy", "--cluster", str(mesh.document), "--json")
    assert again.returncode == 0, again.stderr[-3000:]
    changed = [entry["name"] for entry in json.loads(again.stdout)["operations"] if entry["changed"]]
    assert changed == []
    # What the nodes offer is bound to the mesh alone.
    listening = mesh.sh("requester", "ss -Hltn | awk '{print $4}'").split()
    requester = mesh.cluster.requester
    assert f"{requester.peer_address}:5000" in listening
    assert f"{requester.first_address}:5000" not in listening


def test_nothing_but_ssh_is_open_from_outside_the_mesh(mesh: Mesh) -> None:
    node = mesh.cluster.node("compute-1")
    assert node.first_address is not None
    mesh.sh(node.name, "systemd-run --quiet --unit=shoal-test-listener python3 -m http.server 8099 --bind 0.0.0.0")
    try:
        publish = "docker run -d --name shoal-test-published -p 8098:8098 --entrypoint python3"
        mesh.sh(node.name, f"{publish} $(docker images -q | head -n 1) -m http.server 8098")
        fetch = "curl -fsS --noproxy '*' -m 5 -o /dev/null http://{}:{}/ && echo yes || true"
        wait_for("the listener", lambda: mesh.sh(node.name, fetch.format("127.0.0.1", 8099)) == "yes")
        # Over the mesh both are there, the container's own rules included ...
        assert mesh.sh("requester", fetch.format(node.peer_address, 8099)) == "yes"
        wait_for("the container", lambda: mesh.sh("requester", fetch.format(node.peer_address, 8098)) == "yes")
        # ... from outside only SSH is, on every port there is.
        assert open_ports(node.first_address, range(1, 65536)) == {22}
        assert mesh.sh("requester", fetch.format(node.first_address, 8099)) == ""
        assert mesh.sh("requester", fetch.format(node.first_address, 8098)) == ""
    finally:
        mesh.sh(node.name, "systemctl stop shoal-test-listener; docker rm -f shoal-test-published; true")


def test_the_engines_own_rules_are_left_alone(mesh: Mesh) -> None:
    tables = mesh.sh("compute-1", "nft list tables; iptables -S FORWARD")
    assert "table inet shoal_firewall" in tables
    assert "DOCKER" in tables


def test_the_sample_policy_holds_and_suffices(mesh: Mesh) -> None:
    """What follows in this file goes on under the policy."""
    lines = [line for line in policy.render().splitlines() if not line.strip().startswith("//")]
    acls = json.loads(re.sub(r",(\s*[}\]])", r"\1", "\n".join(lines)))["acls"]
    rules = []
    for acl in acls:
        tag, _, ports = acl["dst"][0].rpartition(":")
        rules.append({"Src": acl["src"], "Dst": tag, "Ports": ports.split(",")})
    mesh.control.policy(Tags=TAGS, Rules=rules)
    knock = "timeout 5 bash -c 'exec 3<>/dev/tcp/{}/{}' 2>/dev/null && echo open || echo closed"
    requester, one, two = (mesh.cluster.node(name).peer_address for name in ("requester", "compute-1", "compute-2"))
    wait_for("the policy", lambda: mesh.sh("compute-1", knock.format(two, 22)) == "closed")
    assert mesh.sh("compute-1", knock.format(requester, 5000)) == "open"
    assert mesh.sh("compute-1", knock.format(requester, 22)) == "closed"
    assert mesh.sh("requester", knock.format(one, 22)) == "open"


def test_a_run_goes_on_while_the_control_server_is_away(mesh: Mesh, tmp_path: Path) -> None:
    gone = threading.Event()

    def away() -> None:
        time.sleep(5)
        mesh.control.stop()
        gone.set()
        time.sleep(CONTROL_DOWN_S)
        mesh.control.start()

    thread = threading.Thread(target=away)
    begun = time.monotonic()
    thread.start()
    try:
        runs = []
        # One run after the other until the server is back: they begin, go on and end without it.
        while not runs or (thread.is_alive() and gone.is_set() and time.monotonic() - begun < CONTROL_DOWN_S):
            done = shoal("run", "--cluster", str(mesh.document), "--stride", "10", "--json", cwd=tmp_path)
            assert done.returncode in (0, 3), done.stderr[-3000:]
            runs.append(json.loads(done.stdout))
        assert gone.is_set()
        sys.stdout.write(f"{len(runs)} runs over the mesh, the control server away for {CONTROL_DOWN_S:.0f} s\n")
        if thread.is_alive():
            # Nothing is told to change by an outage, and nothing is given a key.
            assert mesh.deploy("mesh").changed == 0
    finally:
        thread.join()
    wait_for("the nodes to be back", lambda: all(device["online"] for device in mesh.control.devices().values()
                                                 if device["hostname"] != "desk"), timeout_s=180)  # fmt: skip


def test_the_mesh_cannot_be_removed_over_the_mesh(mesh: Mesh) -> None:
    with pytest.raises(ShoalError) as caught:
        mesh.deploy("teardown")
    assert "mesh off" in str(caught.value)


def test_teardown_leaves_no_device_behind(mesh: Mesh) -> None:
    done = subprocess.run(
        ["python", "-m", "shoal", "site", "teardown", "--cluster", str(mesh.document)],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = {node.name for node in mesh.first.nodes}
    wait_for(
        "the devices to go",
        lambda: not any(device["hostname"] in names for device in mesh.control.devices().values()),
        timeout_s=120,
    )
    for node in mesh.first.nodes:
        left = mesh.sh(
            node.name,
            "command -v tailscale tailscaled nft; ls -d /var/lib/tailscale /etc/default/tailscaled "
            "/etc/systemd/system/tailscaled.service /sys/class/net/tailscale0 2>/dev/null; true",
            first=True,
        )
        assert left == "", left
