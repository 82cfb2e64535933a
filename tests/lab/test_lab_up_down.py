"""The lab's life: up, used, broken, up again, down; seen through ssh and the engine, not through its own status."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from lab_under_test import Lab

from shoal.cluster import document as cluster_document
from shoal.errors import Exit, ShoalError, UsageError
from shoal.lab import engine as engines
from shoal.lab import firewall, image_cache, mounts, names, node_image, ssh_files, state
from shoal.lab.down import down
from shoal.lab.spec import LabSpec
from shoal.lab.status import status
from shoal.lab.up import Options, up
from shoal.paths import cluster_document as cluster_path

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

NAME = "lifetest"
SHOAL = [sys.executable, "-m", "shoal", "lab"]


@pytest.fixture
def client(lab_environment: None) -> docker.DockerClient:
    return docker.DockerClient(base_url=os.environ["DOCKER_HOST"])


@pytest.fixture
def small_lab(lab_environment: None) -> Iterator[str]:
    """The name of a lab of one compute node; whatever the test leaves is taken down."""
    down(NAME)
    yield NAME
    assert down(NAME).clean


def shoal(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SHOAL, *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def on_node(lab: str, node: str, command: str) -> str:
    done = subprocess.run(
        ["ssh", "-F", ssh_files.config_path(lab), node, command],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.strip()


def ours(client: docker.DockerClient, lab: str) -> list[Container]:
    return client.containers.list(all=True, filters=names.lab_filter(lab))


def kill_at(line: str, *arguments: str) -> str:
    """Start `shoal lab up`, kill it with -9 as soon as it says `line`; gives what it had said."""
    process = subprocess.Popen(
        [*SHOAL, "up", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert process.stderr is not None
    said = ""
    for text in process.stderr:
        said += text
        if re.search(line, text):
            process.kill()
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL, f"it never said {line!r}:\n{said}"
    return said


def test_machines_are_systemd_with_strict_ssh_and_an_identity_of_their_own(lab: Lab) -> None:
    name = lab.name
    cluster = cluster_document.load(lab.document)
    assert [node.name for node in cluster.nodes] == ["requester", "compute-1", "compute-2"]
    identities = set()
    for node in cluster.nodes:
        assert on_node(name, node.name, "hostname") == node.name
        assert on_node(name, node.name, "sudo -n id -un") == "root"
        assert on_node(name, node.name, "systemctl is-system-running") == "running"
        identities.add(on_node(name, node.name, "cat /etc/machine-id"))
        identities.add(on_node(name, node.name, "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub"))
    assert len(identities) == 2 * len(cluster.nodes)
    assert on_node(name, "compute-1", "getent hosts requester").split()[0] == cluster.requester.address
    mtu = on_node(name, "compute-1", "cat /sys/class/net/eth0/mtu")
    assert int(mtu) == lab.facts.mtu


def test_a_changed_host_key_is_refused(lab: Lab, tmp_path: Path) -> None:
    name = lab.name
    wrong = ssh_files.known_hosts_path(name).read_text().splitlines()
    swapped = tmp_path / "known_hosts"
    keys = [line.split(" ", 1) for line in wrong]
    swapped.write_text(
        "".join(f"{host} {key}\n" for (host, _), (_, key) in zip(keys, keys[1:] + keys[:1], strict=True))
    )
    done = subprocess.run(
        [
            "ssh",
            "-F",
            ssh_files.config_path(name),
            "-o",
            f"UserKnownHostsFile={swapped}",
            "-S",
            "none",
            "compute-1",
            "true",
        ],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_nodes_are_bare_but_an_engine_installs_without_fetching(small_lab: str) -> None:
    # A lab of its own: the shared one may have been deployed to.
    name = small_lab
    up(LabSpec(name=name, compute=1))
    assert on_node(name, "requester", "dpkg-query -W docker.io 2>/dev/null | cut -f2") == ""
    plan = on_node(
        name, "requester", "sudo apt-get install --no-install-recommends --print-uris -qq docker.io iptables"
    )
    assert plan == ""


def test_a_node_cannot_reach_the_metadata_service_of_the_host(lab: Lab) -> None:
    if not lab.facts.metadata_blocked:
        pytest.skip("not root, or no iptables: nothing to block it with")
    rule = firewall.lab_rules(lab.name)
    assert len(rule) == 1
    assert "169.254.0.0/16" in rule[0]
    dropped = "curl -sS --max-time 2 http://169.254.169.254/ >/dev/null 2>&1; echo $?"
    # 28: timed out, as a dropped packet does.
    assert on_node(lab.name, "compute-1", dropped) == "28"


def test_up_again_changes_nothing_and_is_quick(lab: Lab, client: docker.DockerClient) -> None:
    name = lab.name
    before = {container.id for container in ours(client, name)}
    begun = time.monotonic()
    up(LabSpec(name=name))
    assert time.monotonic() - begun < 10
    assert {container.id for container in ours(client, name)} == before
    assert cluster_document.load(cluster_path(name)) == lab.cluster


def test_command_line_from_nothing_to_nothing(small_lab: str, client: docker.DockerClient) -> None:
    assert shoal("status", "--name", small_lab).returncode == Exit.INCOMPLETE
    assert shoal("logs", "--name", small_lab, "compute-1").returncode == Exit.MISSING
    brought = shoal("up", "--name", small_lab, "--compute", "1")
    assert brought.returncode == 0, brought.stderr
    assert brought.stdout.strip() == str(cluster_path(small_lab))
    found = shoal("status", "--name", small_lab, "--json")
    assert found.returncode == 0
    assert [node["boot"] for node in json.loads(found.stdout)["nodes"]] == ["running", "running"]
    said = shoal("ssh", "--name", small_lab, "compute-1", "--", "printf", "%s\n", "two words", "it's")
    assert said.stdout == "two words\nit's\n", said.stderr
    assert shoal("ssh", "--name", small_lab, "compute-9").returncode == Exit.USAGE
    journal = shoal("logs", "--name", small_lab, "compute-1")
    assert journal.returncode == 0
    assert "systemd" in journal.stdout
    client.containers.get(names.container_name(small_lab, "compute-1")).stop(timeout=5)
    assert shoal("status", "--name", small_lab).returncode == Exit.INCOMPLETE
    gone = shoal("down", "--name", small_lab, "--json")
    assert gone.returncode == 0, gone.stderr
    assert json.loads(gone.stdout)["clean"] is True
    assert ours(client, small_lab) == []
    assert not state.folder(small_lab).exists()
    again = shoal("down", "--name", small_lab)
    assert again.returncode == 0
    assert "there was no lab" in again.stderr


@pytest.mark.parametrize(
    "line",
    ["using the engine", "network .* made", "starting the nodes", "requester created", "compute-1 created", "nodes up"],
)
def test_killed_anywhere_and_typed_again_it_completes(small_lab: str, line: str) -> None:
    kill_at(line, "--name", small_lab, "--compute", "1")
    brought = shoal("up", "--name", small_lab, "--compute", "1")
    assert brought.returncode == 0, brought.stderr
    assert status(small_lab).running
    assert on_node(small_lab, "compute-1", "hostname") == "compute-1"


def test_killed_while_the_image_is_built_and_typed_again(small_lab: str, client: docker.DockerClient) -> None:
    kill_at("building the node image", "--name", small_lab, "--compute", "1", "--rebuild")
    # Wait for the half-built image's container: the kill comes right after the line.
    brought = shoal("up", "--name", small_lab, "--compute", "1", "--rebuild")
    assert brought.returncode == 0, brought.stderr
    assert [one for one in client.containers.list(all=True) if one.name == node_image.builder_name()] == []
    assert status(small_lab).running


def test_killed_in_the_base_image_leaves_nothing_at_work(
    small_lab: str, client: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A cache and a name of its own, so that the base image is made from the start whatever the engine has.
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "cache" / "images"
    code = (
        "import shoal.lab.base_image as b, shoal.telling as p; from shoal.lab import image_cache;"
        "b._bootstrap(p.to_stderr, b.release(), ('openssh-server',), image_cache.folder() / 'base-test.tar')"
    )
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("bootstrapping needs root and debootstrap")
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    _wait_for((root / "base-test.root" / "debootstrap").exists, 60)
    process.kill()
    process.wait()
    _wait_for(lambda: not _processes_with(str(root)), 10)
    assert mounts.below(root) == []
    assert not (root / "base-test.tar").exists()


def test_a_full_disk_while_bootstrapping_is_told(lab_environment: None, tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("bootstrapping needs root and debootstrap")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "shoal-test", str(small)], check=True)
    try:
        code = (
            "import shoal.lab.base_image as b, shoal.telling as p, sys; from shoal.lab import image_cache\n"
            "from shoal.errors import ShoalError\n"
            "try: b._bootstrap(p.to_stderr, b.release(), ('openssh-server',), image_cache.folder() / 'base-test.tar')\n"
            "except ShoalError as e: print(e); sys.exit(7)"
        )
        environment = {**os.environ, "SHOAL_CACHE": str(small)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 7, done.stderr
        assert "no space left on the disk" in done.stdout
        assert not list((small / "images").glob("*.root"))
        assert not list((small / "images").glob("*.tar*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_an_interrupted_up_ends_with_130_and_can_be_typed_again(small_lab: str) -> None:
    process = subprocess.Popen(
        [*SHOAL, "up", "--name", small_lab, "--compute", "1"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert process.stderr is not None
    for text in process.stderr:
        if "requester created" in text:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait() == Exit.INTERRUPTED, rest
    assert "Traceback" not in rest
    assert "type the command again" in rest
    assert shoal("up", "--name", small_lab, "--compute", "1").returncode == 0
    assert status(small_lab).running


def test_stopped_and_removed_nodes_come_back(small_lab: str, client: docker.DockerClient) -> None:
    up(LabSpec(name=small_lab, compute=1))
    on_node(small_lab, "compute-1", "echo kept | sudo tee /etc/kept >/dev/null")
    client.containers.get(names.container_name(small_lab, "compute-1")).kill()
    client.containers.get(names.container_name(small_lab, "requester")).remove(force=True, v=True)
    up(LabSpec(name=small_lab))
    assert status(small_lab).running
    assert on_node(small_lab, "compute-1", "cat /etc/kept") == "kept"
    assert on_node(small_lab, "requester", "hostname") == "requester"


def test_more_and_fewer_nodes(small_lab: str) -> None:
    up(LabSpec(name=small_lab, compute=1))
    assert len(up(LabSpec(name=small_lab, compute=2)).nodes) == 3
    with pytest.raises(UsageError, match="more nodes than asked for: compute-2"):
        up(LabSpec(name=small_lab, compute=1))
    assert len(status(small_lab).nodes) == 3
    cluster = up(LabSpec(name=small_lab, compute=1), Options(scale_down=True))
    assert [node.name for node in cluster.nodes] == ["requester", "compute-1"]
    assert status(small_lab).running


def test_limits_hold_and_a_change_of_them_needs_recreate(small_lab: str, client: docker.DockerClient) -> None:
    said: list[str] = []
    up(LabSpec(name=small_lab, compute=1, memory_mib=512))
    container = client.containers.get(names.container_name(small_lab, "compute-1"))
    assert container.attrs["HostConfig"]["Memory"] == 512 * 1024 * 1024
    up(LabSpec(name=small_lab, memory_mib=768), say=said.append)
    assert any("--recreate" in line for line in said)
    assert client.containers.get(container.id).attrs["HostConfig"]["Memory"] == 512 * 1024 * 1024
    up(LabSpec(name=small_lab, memory_mib=768), Options(recreate=True))
    anew = client.containers.get(names.container_name(small_lab, "compute-1"))
    assert anew.attrs["HostConfig"]["Memory"] == 768 * 1024 * 1024


def test_a_range_in_use_is_refused_with_what_uses_it(small_lab: str, client: docker.DockerClient) -> None:
    pool = docker.types.IPAMPool(subnet="10.214.7.0/24")
    other = client.networks.create(
        "shoal-test-other", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"shoal.test": "1"}
    )
    try:
        with pytest.raises(UsageError, match="in use by the engine's network 'shoal-test-other'"):
            up(LabSpec(name=small_lab, compute=1, subnet="10.214.0.0/16"))
    finally:
        other.remove()
    assert ours(client, small_lab) == []
    assert not state.folder(small_lab).exists()


def test_a_foreign_container_with_our_name_is_refused_and_left_alone(
    small_lab: str, client: docker.DockerClient
) -> None:
    image = node_image.ensure(engines.open_engine(os.environ["DOCKER_HOST"]), print)
    foreign = client.containers.create(image, ["true"], name=names.container_name(small_lab, "compute-1"))
    try:
        with pytest.raises(UsageError, match=f"container '{foreign.name}'"):
            up(LabSpec(name=small_lab, compute=1))
        down(small_lab)
        foreign.reload()
        assert foreign.status == "created"
        assert not state.folder(small_lab).exists()
    finally:
        foreign.remove()


def test_a_lab_of_another_state_folder_is_refused_and_left_alone(
    small_lab: str, client: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(LabSpec(name=small_lab, compute=1))
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("SHOAL_STATE", str(tmp_path / "elsewhere"))
        with pytest.raises(UsageError, match="not this lab's"):
            up(LabSpec(name=small_lab, compute=1))
        down(small_lab)
    assert status(small_lab).running


@pytest.fixture
def broken_image(client: docker.DockerClient) -> Iterator[str]:
    """An image whose machine ends at once, with a last word."""
    image = node_image.ensure(engines.open_engine(os.environ["DOCKER_HOST"]), print)
    container = client.containers.create(image, ["true"])
    container.commit("shoal-test-broken", "1", changes='CMD ["sh", "-c", "echo broken by the test; exit 1"]')
    container.remove()
    yield "shoal-test-broken:1"
    client.images.remove("shoal-test-broken:1")


def test_a_node_that_does_not_boot_is_told_and_taken_back(
    broken_image: str, small_lab: str, client: docker.DockerClient
) -> None:
    failed = shoal("up", "--name", small_lab, "--compute", "1", "--image", broken_image)
    assert failed.returncode == Exit.FAILED
    assert "node requester does not boot" in failed.stderr
    assert "broken by the test" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert ours(client, small_lab) == []
    assert client.networks.list(filters=names.lab_filter(small_lab)) == []
    assert client.volumes.list(filters=names.lab_filter(small_lab)) == []
    assert not state.folder(small_lab).exists()
    assert not cluster_path(small_lab).exists()


def test_retain_keeps_a_node_that_does_not_boot(broken_image: str, small_lab: str, client: docker.DockerClient) -> None:
    with pytest.raises(ShoalError, match="does not boot"):
        up(LabSpec(name=small_lab, compute=1, image=broken_image), Options(retain=True))
    assert len(ours(client, small_lab)) == 2
    assert "broken by the test" in shoal("logs", "--name", small_lab, "requester").stdout


def test_a_node_that_hangs_in_boot_is_told_after_its_time(small_lab: str, client: docker.DockerClient) -> None:
    with pytest.raises(ShoalError, match="does not boot: it is still"):
        up(LabSpec(name=small_lab, compute=1, boot_timeout_s=0.05))
    assert ours(client, small_lab) == []


def test_a_new_node_that_fails_leaves_the_running_ones(
    broken_image: str, small_lab: str, client: docker.DockerClient
) -> None:
    up(LabSpec(name=small_lab, compute=1))
    before = {container.id for container in ours(client, small_lab)}
    with pytest.raises(ShoalError, match="node compute-2 does not boot"):
        up(LabSpec(name=small_lab, compute=2, image=broken_image))
    assert {container.id for container in ours(client, small_lab)} == before
    assert on_node(small_lab, "compute-1", "hostname") == "compute-1"


def test_down_with_half_of_it_missing(small_lab: str, client: docker.DockerClient) -> None:
    up(LabSpec(name=small_lab, compute=1))
    client.containers.get(names.container_name(small_lab, "requester")).remove(force=True)
    shutil.rmtree(state.folder(small_lab))
    result = down(small_lab)
    assert result.existed
    assert result.clean
    assert ours(client, small_lab) == []
    assert firewall.lab_rules(small_lab) == []


def test_down_with_the_engine_dead_says_so_and_keeps_what_it_knows(
    small_lab: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    up(LabSpec(name=small_lab, compute=1))
    facts = state.folder(small_lab) / "lab.json"
    good = facts.read_text()
    facts.write_text(good.replace(os.environ["DOCKER_HOST"], f"unix://{tmp_path}/dead.sock"))
    with pytest.raises(ShoalError, match="does not answer, and the lab's containers are on it"):
        down(small_lab)
    assert status(small_lab).running is False
    facts.write_text(good)


def test_two_ups_at_once_make_one_lab(small_lab: str, client: docker.DockerClient) -> None:
    command = [*SHOAL, "up", "--name", small_lab, "--compute", "1"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("waiting for it" in text for text in said) == 1
    assert len(ours(client, small_lab)) == 2


def _wait_for(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def _processes_with(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_the_image_cache_is_this_user_s(lab: Lab) -> None:
    assert not list(image_cache.folder().glob("*.part"))
    assert not list(image_cache.folder().glob("*.root"))
