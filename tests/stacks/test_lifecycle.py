"""What the verbs need and say where it is missing, and the way to a cloud machine; without an engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from paramiko import SSHConfig

from shoal.cloud import gcloud, pulumi
from shoal.cluster import document as clusters
from shoal.cluster import overlay
from shoal.cluster.document import Cluster, Node
from shoal.cluster.overlay import Moved, Overlay
from shoal.cluster.reach import Reach
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.engines.bacalhau import secrets
from shoal.engines.choice import Choice
from shoal.errors import Exit, ShoalError, UsageError
from shoal.lifecycle import access, receipt, tailnet_key, verbs
from shoal.lifecycle import kept_files as known
from shoal.mesh import moving
from shoal.paths import cluster_document
from shoal.site import document as site
from shoal.ssh import client as ssh
from shoal.ssh.failures import SshError, SshFailure
from stacks.gcp.node_entry import proxy_command
from tests.opened import counted


def test_a_missing_pulumi_or_gcloud_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ShoalError) as missing:
        pulumi.find("gcp")
    assert missing.value.exit_code is Exit.MISSING
    assert "https://www.pulumi.com/docs/install/" in str(missing.value)
    with pytest.raises(ShoalError) as missing:
        gcloud.text("config", "list")
    assert missing.value.exit_code is Exit.MISSING
    assert "https://cloud.google.com/sdk/docs/install" in str(missing.value)


def test_what_the_user_has_set_for_pulumi_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    monkeypatch.setenv("PULUMI_BACKEND_URL", "gs://mine")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "mine")
    told = pulumi.environment()
    assert told["PULUMI_BACKEND_URL"] == "gs://mine"
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in told
    assert not (tmp_path / "pulumi-passphrase").exists()


@pytest.mark.parametrize("name", ["lab-compute-12.europe-west4-b.c.my-project-1.internal"])
def test_the_proxy_command_asks_for_the_machine_in_its_zone(tmp_path: Path, name: str) -> None:
    fake = tmp_path / "gcloud"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    expected = [
        *("compute", "start-iap-tunnel", "lab-compute-12", "22", "--listen-on-stdin"),
        *("--project=my-project-1", "--zone=europe-west4-b"),
    ]
    line = proxy_command("my-project-1")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    # As OpenSSH does it: tokens filled in, then the user's shell.
    openssh = line.replace("%h", name).replace("%p", "22")
    told = subprocess.run(
        ["/bin/sh", "-c", f"exec {openssh}"], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines() == expected

    # As pyinfra's paramiko does it: from an ssh_config, split into words, no shell.
    import shlex

    config = SSHConfig.from_text(f"Host *\n  ProxyCommand {line}\n").lookup(name)["proxycommand"]
    told = subprocess.run(shlex.split(config), env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == expected


def test_openssh_itself_goes_through_the_proxy_command(tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("no OpenSSH client here")
    asked = tmp_path / "asked"
    fake = tmp_path / "gcloud"
    fake.write_text(f'#!/bin/sh\nprintf "%s " "$@" >{asked}\nexit 1\n')
    fake.chmod(0o755)
    subprocess.run(
        ["ssh", "-F", "none", "-o", f"ProxyCommand={proxy_command('my-project-1')}", "vm.us-central1-a.c.p.internal"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    assert asked.read_text().split()[:4] == ["compute", "start-iap-tunnel", "vm", "22"]


def test_searches_of_one_lab_never_find_anothers() -> None:
    found = receipt.searches("my-project-1", "a")
    assert all({"--project=my-project-1", "my-project-1"} & set(arguments) for arguments in found.values())
    (grants,) = [word for word in found[receipt.GRANT] if word.startswith("--filter=")]
    wanted = re.compile(grants.partition("~")[2])
    assert wanted.search("deleted:serviceAccount:shoal-a-req@my-project-1.iam.gserviceaccount.com?uid=1")
    assert not wanted.search("serviceAccount:shoal-a-b-req@my-project-1.iam.gserviceaccount.com")
    assert "--filter=labels.shoal-cluster=a" in found["instance"]
    assert "--filter=name=(shoal-a shoal-a-ssh-iap shoal-a-cluster)" in found["network"]


def test_host_keys_in_serial_output_are_those_of_the_last_boot() -> None:
    def block(body: str) -> str:
        begin, end = access._SERIAL_BEGIN, access._SERIAL_END
        return f"x\n{begin}\nci-info: ssh-ed25519 {body} root@vm\necdsa-sha2-nistp256 {body}2 root@vm\n{end}\ny\n"

    assert access._serial_keys(block("old") + block("new")) == [
        ("ssh-ed25519", "new"),
        ("ecdsa-sha2-nistp256", "new2"),
    ]
    assert access._serial_keys("booting") == []
    assert access._serial_keys(f"{access._SERIAL_BEGIN}\nssh-ed25519 half") == []


def test_settings_from_the_command_line() -> None:
    assert verbs.parse_change("compute={count: 5}") == ("compute", {"count": 5})
    assert verbs.parse_change("maxRunHours=6") == ("maxRunHours", 6)
    for wrong in ("compute", "=1", "compute={count"):
        with pytest.raises(UsageError):
            verbs.parse_change(wrong)


HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJU136SYwf17CU3UkTaTRtG6SuU++OVecVOm8mt3U3Tj"


def boxes(name: str = "quay", **more: Any) -> Cluster:
    nodes = (
        Node(name="gate", roles=("requester",), address="192.0.2.1"),
        Node(name="dock-1", roles=("compute",), address="192.0.2.2", **more),
    )
    return Cluster(name=name, substrate="edge", mesh="tailscale", nodes=nodes)


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A stack `edge` without an engine: what it exports, and what was done for it, in order."""
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    world: dict[str, Any] = {
        "done": [],
        "outputs": {
            "cluster": boxes().model_dump(mode="json", exclude_none=True),
            "knownHosts": [f"192.0.2.1 {HOST_KEY}", f"192.0.2.2 {HOST_KEY}"],
            "secrets": {"orchestratorToken": "the-stacks-own-token", "tailscaleAuthKey": "tskey-auth-canary"},
        },
    }
    done = world["done"]

    def on(reach: Reach, *, settings: Any, proxy_command: str | None, **more: Any) -> Any:
        done.append(("mesh", dict(settings), proxy_command))
        nodes = {
            node.name: Moved(first_address=node.address, address=f"{node.name}.ts.net", peer_address="100.64.0.1")
            for node in reach.first.nodes
        }
        note = Overlay(cluster="quay", nodes=nodes, settings=dict(settings))
        return moving.Move((), services=True, reach=reach.noted(note))

    def run_deploy(reach: Reach, name: str, *, engine: Choice, **more: Any) -> deploys.DeployResult:
        done.append(("deploy", name))
        return deploys.DeployResult(name, (), 0, 0, (), 0.0)

    monkeypatch.setattr(pulumi, "outputs", lambda stack, secret=False: world["outputs"])
    monkeypatch.setattr(moving, "on", on)
    monkeypatch.setattr(deploys, "run_deploy", run_deploy)
    monkeypatch.setattr(
        site, "prepare", lambda cluster, with_videos, **more: done.append(("prepare", "samples" * with_videos))
    )
    monkeypatch.setattr(engines, "choose", lambda *_, **__: Choice("bacalhau", "for the test"))
    return world


STACK = pulumi.Stack("edge", "edge", Path("/nowhere"), "pulumi")


def test_bootstrap_joins_the_mesh_before_the_site_and_goes_on_over_it(edge: dict[str, Any]) -> None:
    way = verbs.MeshWay("tailscale nc %h %p", {"tailscale_port": 41642})
    with counted(cluster_document("quay")) as read:
        made = verbs.bootstrap(STACK, lambda line: None, way=way)
    assert read == [0], "the stack is the document's source: it is kept for later commands, and not read back"
    prepare, mesh, deploy = edge["done"]
    assert (prepare, deploy) == (("prepare", "samples"), ("deploy", "site"))
    # The key is asked of the stack when a box has to join, and lies nowhere in clear.
    key = {"tailscale_authkey_command": tailnet_key.command("edge")}
    assert mesh == ("mesh", {"tailscale_port": 41642, **key}, "tailscale nc %h %p")
    assert "tskey-auth-canary" not in json.dumps(edge["done"])
    assert {node.name: node.address for node in made.nodes} == {"gate": "gate.ts.net", "dock-1": "dock-1.ts.net"}
    assert [node.address for node in clusters.load(cluster_document("edge")).nodes] == ["192.0.2.1", "192.0.2.2"]
    # The engine's nodes show the token that the stack keeps.
    tokens = secrets.load("quay")
    assert tokens is not None
    assert tokens.node_token.get_secret_value() == "the-stacks-own-token"


def test_a_key_that_was_named_otherwise_is_not_asked_of_the_stack(edge: dict[str, Any]) -> None:
    verbs.bootstrap(STACK, lambda line: None, way=verbs.MeshWay(settings={"tailscale_authkey_file": "~/key"}))
    verbs.bootstrap(STACK, lambda line: None)  # kept from the first time
    assert [done[1] for done in edge["done"] if done[0] == "mesh"] == [{"tailscale_authkey_file": "~/key"}, {}]
    overlay.path("quay").unlink()
    del edge["outputs"]["secrets"]["tailscaleAuthKey"]
    verbs.bootstrap(STACK, lambda line: None)
    assert edge["done"][-2] == ("mesh", {}, None)


def test_boxes_with_cameras_get_no_sample_clips(edge: dict[str, Any]) -> None:
    cluster = boxes(camera_folders=("/srv/cam",)).model_copy(update={"mesh": "none"})
    edge["outputs"]["cluster"] = cluster.model_dump(mode="json", exclude_none=True)
    verbs.bootstrap(STACK, lambda line: None)
    assert edge["done"] == [("prepare", ""), ("deploy", "site")]


def test_the_tailnet_key_is_printed_for_whoever_asks_and_its_lack_told(
    edge: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulumi, "find", lambda kind, name: STACK)
    assert tailnet_key.main(["edge"]) == 0
    assert capsys.readouterr().out == "tskey-auth-canary\n"
    del edge["outputs"]["secrets"]["tailscaleAuthKey"]
    assert tailnet_key.main(["edge"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "stack 'edge' keeps no tailscaleAuthKey" in told.err


def test_a_machine_on_the_mesh_is_waited_for_there_and_at_its_first_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    cluster = boxes()
    node = cluster.node("dock-1")
    moved = Moved(first_address=node.address, address="dock-1.ts.net", peer_address="100.64.0.2")
    overlay.save(Overlay(cluster="quay", nodes={"dock-1": moved}))
    asked: list[str] = []
    answering = {"dock-1.ts.net", "192.0.2.2"}

    def run(cluster: Cluster, node: Node, *command: str, **how: Any) -> ssh.Completed:
        asked.append(node.address)
        if node.address not in answering:
            raise SshError(node, SshFailure.TIMED_OUT, "")
        return ssh.Completed(0, b"", "")

    monkeypatch.setattr(ssh, "run", run)
    assert access._lets_in(cluster, overlay.applied(cluster), node) == []
    assert asked == ["dock-1.ts.net"]
    answering.remove("dock-1.ts.net")
    assert access._lets_in(cluster, overlay.applied(cluster), node) == []
    assert asked[1:] == ["dock-1.ts.net", "192.0.2.2"]
    answering.clear()
    with pytest.raises(SshError, match=r"192\.0\.2\.2"):
        access._lets_in(cluster, overlay.applied(cluster), node)


def test_one_stacks_document_is_not_taken_for_anothers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two stacks of a kind: the substrate's own document is the one that was brought up last."""
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(pulumi, "settings", lambda stack: {"shoal-edge:name": names[stack.name]})
    monkeypatch.setattr(pulumi, "call", lambda *words, **how: None)
    names = {"edge": "quay", "edge2": "pier", "edge3": "mole"}
    first, second, third = (pulumi.Stack("edge", name, tmp_path, "pulumi") for name in names)
    known.keep(boxes("quay"))
    known.keep(boxes("pier"))
    found = known.find(first), known.find(second)
    assert [cluster.name for cluster in found if cluster] == ["quay", "pier"]
    assert known.find(third) is None
    known.forget(first)
    assert clusters.load(cluster_document("edge")).name == "pier"
    assert known.find(second) is not None
    assert not cluster_document("quay").exists()
