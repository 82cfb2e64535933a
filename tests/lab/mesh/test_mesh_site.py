"""A whole site on the mesh, full of false secrets: deployed over it, closed to the outside, running while the control
server is away, switched off and on again, searched, gone.

On the real engine where there is one (SHOAL_BACALHAU_BINARY), else on ssh. The tests build on each
other, in the order of this file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TAGS, Mesh
from mesh_commands import KNOCK, shoal
from tailnet import wait_for
from watching import MARK, SEARCH, everywhere

from shoal.cluster import document as clusters
from shoal.engines.bacalhau import release, secrets
from shoal.errors import ShoalError
from shoal.lab.names import container_name
from shoal.mesh import policy
from shoal.paths import repository, state_dir
from shoal.site import document as site
from tests.roles.canaries import ENVIRONMENT, TOKENS, leaks

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3000)]

CONTROL_DOWN_S = float(os.environ.get("SHOAL_TEST_CONTROL_DOWN_S", "120"))
"""How long the control server is away while a run goes on."""
SCAN_TIMEOUT_S = 0.7
BOOT_TIMEOUT_S = 120
NATS, API, REGISTRY = 4222, 1234, 5000
KNOWN_PORTS = (*range(1, 1025), NATS, API, REGISTRY, 1235, 2375, 2376, 6001, 8438, 41641)


@pytest.fixture(scope="module")
def engine(lab_environment: None) -> Iterator[str]:
    """`bacalhau` where it can be had, else `ssh`."""
    binary = os.environ.get("SHOAL_BACALHAU_BINARY")
    added = release.add(Path(binary)) if binary else None
    yield "bacalhau" if added else "ssh"
    if added:
        shutil.rmtree(added.path.parent, ignore_errors=True)


@pytest.fixture(scope="module")
def mesh(mesh: Mesh, engine: str) -> Iterator[Mesh]:
    """The lab with that engine, and false secrets wherever the product takes one."""
    document = mesh.document.with_name("site.json")
    clusters.save(clusters.load(mesh.document).model_copy(update={"engine": engine}), document)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            if not name.startswith("SHOAL_TAILSCALE"):  # that one is the key that nodes join with
                patch.setenv(name, value)
        if engine == "bacalhau":
            tokens = secrets.path(mesh.first.name)
            tokens.unlink(missing_ok=True)
            tokens.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            tokens.touch(mode=0o600)
            tokens.write_text(json.dumps(TOKENS))
        yield replace(mesh, document=document)


def open_ports(address: str, ports: Iterable[int]) -> set[int]:
    """TCP ports that take a connection from this machine, which is not on the mesh by any device."""

    def attempt(port: int) -> int | None:
        try:
            with socket.create_connection((address, port), timeout=SCAN_TIMEOUT_S):
                return port
        except OSError:
            return None

    with ThreadPoolExecutor(max_workers=800) as pool:
        return {port for port in pool.map(attempt, ports) if port is not None}


def ran(mesh: Mesh, folder: Path) -> dict[str, object]:
    """The record of one quick run that ended well on every node."""
    done = shoal("run", "--cluster", str(mesh.document), "--stride", "10", "--img", "320", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert leaks({"stdout": done.stdout, "stderr": done.stderr}) == {}
    record: dict[str, object] = json.loads(done.stdout)
    return record


def test_a_site_is_deployed_over_the_mesh_and_the_second_time_nothing_changes(mesh: Mesh, engine: str) -> None:
    mesh.give()
    assert mesh.on().whole
    site.prepare(mesh.cluster)
    with everywhere(mesh.first) as seen:
        done = shoal("site", "deploy", "--cluster", str(mesh.document), "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert seen.found == {}
    assert leaks({"stdout": done.stdout, "stderr": done.stderr}) == {}
    again = shoal("site", "deploy", "--cluster", str(mesh.document), "--json")
    assert again.returncode == 0, again.stderr[-3000:]
    changed = [entry["name"] for entry in json.loads(again.stdout)["operations"] if entry["changed"]]
    assert changed == []
    # What the nodes offer is bound to the mesh, or to the machine itself, and to nothing else.
    listening = set(mesh.sh("requester", "ss -Hltn | awk '{print $4}'").split())
    requester = mesh.cluster.requester
    assert requester.first_address != requester.peer_address
    ours = {f"{requester.peer_address}:{REGISTRY}"}
    if engine == "bacalhau":
        ours |= {f"{requester.peer_address}:{NATS}", f"127.0.0.1:{API}"}
    assert {place for place in listening if place.endswith((f":{REGISTRY}", f":{NATS}", f":{API}"))} == ours


def test_a_run_goes_over_the_mesh(mesh: Mesh, engine: str, tmp_path: Path) -> None:
    with everywhere(mesh.first) as seen:
        ran(mesh, tmp_path)
    assert seen.found == {}
    if engine == "bacalhau":
        # The compute nodes' connections to the orchestrator come from their addresses on the mesh.
        requester = mesh.cluster.requester
        peers = mesh.sh("requester", f"ss -Htn state established sport = :{NATS} | awk '{{print $3, $4}}'").splitlines()
        remote = {line.split()[-1].rpartition(":")[0].strip("[]").removeprefix("::ffff:") for line in peers}
        assert {node.peer_address for node in mesh.cluster.compute} <= remote
        assert all(line.split()[0].startswith(requester.peer_address) for line in peers if "127.0.0.1" not in line)


def test_the_live_checks_find_what_the_roles_promise(mesh: Mesh) -> None:
    """What `./just verify` runs, over SSH over the mesh."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/live", "-m", "live", "-q", "-p", "no:cacheprovider"],
        cwd=repository(), env={**os.environ, "SHOAL_CLUSTER": str(mesh.document)},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    sys.stdout.write(done.stdout.splitlines()[-1] + "\n")
    for file in ("tailscale", "firewall"):
        assert not re.search(rf"SKIPPED.*test_live_{file}.*no mesh|not on a mesh", done.stdout)


def test_nothing_of_the_requester_is_open_from_outside_but_ssh(mesh: Mesh) -> None:
    assert open_ports(str(mesh.cluster.requester.first_address), range(1, 65536)) == {22}


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
    requester, one, two = (mesh.cluster.node(name).peer_address for name in ("requester", "compute-1", "compute-2"))
    wait_for("the policy", lambda: mesh.sh("compute-1", KNOCK.format(two, 22)) == "closed")
    assert mesh.sh("compute-1", KNOCK.format(requester, 5000)) == "open"
    assert mesh.sh("compute-1", KNOCK.format(requester, 22)) == "closed"
    assert mesh.sh("requester", KNOCK.format(one, 22)) == "open"


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
            runs.append(ran(mesh, tmp_path))
        assert gone.is_set()
        sys.stdout.write(f"{len(runs)} runs over the mesh, the control server away for {CONTROL_DOWN_S:.0f} s\n")
        if thread.is_alive():
            # Nothing is told to change by an outage, and nothing is given a key.
            assert mesh.deploy("mesh").changed == 0
    finally:
        thread.join()
    wait_for("the nodes to be back", lambda: all(device["online"] for device in mesh.control.devices().values()
                                                 if device["hostname"] != "desk"), timeout_s=180)  # fmt: skip


@pytest.mark.parametrize("name", ["compute-1", "requester"])
def test_a_machine_that_lost_its_power_comes_back_by_itself(mesh: Mesh, engine: str, name: str, tmp_path: Path) -> None:
    """The whole machine off without a word and on again: on the mesh, closed, at work, and nobody did anything."""
    node = mesh.cluster.node(name)
    container = container_name(mesh.first.name, name)
    rules = mesh.sh(name, "nft list table inet shoal_firewall")
    booted = mesh.sh(name, "stat -c %Y /proc/1")
    begun = time.monotonic()
    for verb in ("kill", "start"):
        subprocess.run(["docker", verb, container], check=True, capture_output=True)
    hello = "stat -c %Y /proc/1"
    wait_for(
        "the way in over the mesh", lambda: _answer(mesh, name, hello) not in ("", booted), timeout_s=BOOT_TIMEOUT_S
    )
    back_s = time.monotonic() - begun
    sys.stdout.write(f"{name}: back on the mesh {back_s:.1f} s after its power was cut\n")
    assert mesh.sh(name, "nft list table inet shoal_firewall") == rules
    assert mesh.control.devices()[name]["online"]
    services = ["docker", *(["shoal-registry"] if name == "requester" else [])]
    if engine == "bacalhau":
        services.append("bacalhau-orchestrator" if name == "requester" else "bacalhau-compute")
    for unit in services:
        wait_for(unit, lambda unit=unit: _answer(mesh, name, f"systemctl is-active {unit}; true") == "active",
                 timeout_s=BOOT_TIMEOUT_S)  # fmt: skip
    assert open_ports(str(node.first_address), KNOWN_PORTS) == {22}
    if engine == "bacalhau":
        wait_for("the nodes to be connected", lambda: _connected(mesh), timeout_s=BOOT_TIMEOUT_S)
    ran(mesh, tmp_path)
    again = shoal("site", "deploy", "--cluster", str(mesh.document), "--json")
    assert again.returncode == 0, again.stderr[-3000:]
    assert [entry["name"] for entry in json.loads(again.stdout)["operations"] if entry["changed"]] == []


def _connected(mesh: Mesh) -> bool:
    listed = json.loads(shoal("nodes", "list", "--json", "--cluster", str(mesh.document)).stdout)["nodes"]
    return all(each["engine"] == "connected" for each in listed if "compute" in each["roles"])


def _answer(mesh: Mesh, name: str, script: str) -> str:
    """A node's answer over the mesh; nothing where it does not answer."""
    try:
        return mesh.sh(name, script, check=False)
    except ShoalError:
        return ""


WAYS = {
    "plan": ("--dry",),
    "plan as JSON": ("--dry", "--json"),
    "all shown": ("-y", "--diff", "-vvv", "--debug"),
    "all shown, and it fails": ("-y", "--diff", "-vvv", "--debug"),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_a_deploy_shows_a_secret_on_real_machines(mesh: Mesh, way: str) -> None:
    command = [sys.executable, "-m", "shoal.deploys.process", "inventories/lab.py", "deploy/site.py", *WAYS[way]]
    failing = way.endswith("fails")
    if failing:
        # An address that the requester does not have: the registry is told so, and does not come up again.
        command += ["--data", "registry_ready_timeout_s=1", "--data", "registry_bind=192.0.2.1"]
    with everywhere(mesh.first) as seen:
        done = subprocess.run(
            command, cwd=repository(), env={**os.environ, "SHOAL_CLUSTER": str(mesh.document)},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
    assert (done.returncode != 0) is failing, done.stderr[-2000:]
    assert "Run the daemon" in done.stdout + done.stderr
    assert leaks({"stdout": done.stdout, "stderr": done.stderr}) == {}
    assert seen.found == {}
    if failing:
        mended = shoal("site", "deploy", "--cluster", str(mesh.document))
        assert mended.returncode == 0, mended.stderr[-2000:]


def test_secrets_lie_where_they_must_and_nowhere_else(mesh: Mesh, engine: str) -> None:
    """After all that: files of both sides with their modes, journals and containers."""
    for node in mesh.cluster.nodes:
        found = [line for line in mesh.sh(node.name, SEARCH).splitlines() if line != "0"]
        part = "orchestrator" if node.name == "requester" else "compute"
        by_right = {f"/etc/bacalhau/{part}.yaml"} if engine == "bacalhau" else set()
        assert set(found) == by_right, f"{node.name}: {found}"
        owner = "bacalhau" if part == "orchestrator" else "root"
        for path in by_right:
            assert mesh.sh(node.name, f"stat -c '%a %U' {path}") == f"600 {owner}"
    kept = secrets.path(mesh.first.name)
    for folder in (state_dir(), mesh.document.parent):
        for path in folder.rglob("*"):
            if path.is_file() and path != kept and not path.name.startswith("control.json"):
                content = path.read_bytes()
                # The keys of other tests' machines are in files of their own.
                assert MARK.encode() not in content or path == mesh.key_file, path
    if engine == "bacalhau":
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_the_mesh_cannot_be_removed_over_the_mesh(mesh: Mesh) -> None:
    with pytest.raises(ShoalError) as caught:
        mesh.deploy("teardown")
    assert "mesh off" in str(caught.value)


def test_teardown_leaves_no_device_behind(mesh: Mesh) -> None:
    done = shoal("site", "teardown", "--cluster", str(mesh.document))
    assert done.returncode == 0, done.stderr
    assert leaks({"stdout": done.stdout, "stderr": done.stderr}) == {}
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
        assert [line for line in mesh.sh(node.name, SEARCH, first=True).splitlines() if line != "0"] == []
