"""Ways to a machine that plain `ssh` knows: host certificates, aliases with a port and user of their own, a jump host;
and ways to root: sudo with a password, without a terminal, for some commands only.

What plain `ssh` can, the look and the deploy can.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_under_test import Lab
from plant import Plant, changed, site_document

from shoal.check.examine import examine
from shoal.cluster import load, onprem
from shoal.cluster.document import Cluster, Node, SshAccess
from shoal.errors import ShoalError
from shoal.site import document as sites
from shoal.ssh import client as ssh

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

WAYS = {"requester": "office", "compute-1": "gate"}
"""Lab node and the alias by which its owner knows it."""
SSHD = "Port 22\nPort 2222\nHostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n"
UNDO = "rm -f /etc/ssh/sshd_config.d/ways.conf /etc/ssh/ssh_host_ed25519_key-cert.pub; systemctl restart ssh"


@pytest.fixture
def plant(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Two machines by alias alone: their ports and keys are known to ssh's own settings, and to nothing else."""
    authority = tmp_path / "authority"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(authority)], check=True)
    known = tmp_path / "known_hosts"
    known.write_text(f"@cert-authority * {authority.with_suffix('.pub').read_text()}")
    config = tmp_path / "ssh_config"
    lines, nodes = [], []
    root = Plant(lab.cluster, lab.document)
    for name, alias in WAYS.items():
        node = lab.cluster.node(name)
        key = tmp_path / f"{name}.pub"
        key.write_text(root.on(name, "cat /etc/ssh/ssh_host_ed25519_key.pub") + "\n")
        names = f"{alias},{node.address}"
        sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", name, "-h", "-n", names, "-V", "+1d", str(key)]
        subprocess.run(sign, check=True)
        certificate = key.with_name(f"{name}-cert.pub").read_text().strip()
        root.on(
            name,
            f"printf '%s\\n' '{certificate}' >/etc/ssh/ssh_host_ed25519_key-cert.pub; "
            f"printf '{SSHD}' >/etc/ssh/sshd_config.d/ways.conf; systemctl restart ssh",
        )
        lines += [f"Host {alias}", f"  HostName {node.address}", "  Port 2222", f"  User {node.user}"]
        lines += [f"  IdentityFile {lab.cluster.ssh.identity_file}", f"  UserKnownHostsFile {known}"]
        lines += [f"  ProxyJump {WAYS['requester']}"] if name != "requester" else []
        # The requester's own address is what the others reach it by; the alias is this machine's alone.
        peer = {"cluster_address": node.peer_address} if name == "requester" else {}
        nodes.append(Node(name=name, roles=node.roles, address=alias, **peer))
    config.write_text("\n".join(lines) + "\n")
    access = SshAccess(config_file=config)
    document = Cluster(name="ways", substrate="onprem", engine="ssh", nodes=tuple(nodes), ssh=access)
    path = tmp_path / "onprem.toml"
    path.write_text(re.sub(r'^user = "root"\n', "", onprem.render(document), flags=re.MULTILINE))
    cluster = load.load_path(path)
    made = Plant(cluster, path)
    monkeypatch.setenv("SHOAL_SITE", str(site_document(made, tmp_path)))
    yield made
    ssh.close(cluster)
    for name in WAYS:
        root.on(name, UNDO)


def test_a_host_certificate_a_jump_host_and_the_port_and_user_of_an_alias(plant: Plant) -> None:
    assert {node.user for node in plant.cluster.nodes} == {"shoal"}
    report = examine(plant.cluster, [*WAYS], sites.SiteDocument(cluster="ways"), bacalhau=False, knobs={})
    assert [entry.what for entry in report.in_the_way] == []
    assert set(report.facts) == {*WAYS}
    assert plant.deploy(dry=True).changed > 0
    plant.deploy()
    assert changed(plant.deploy()) == []
    plant.deploy("teardown")


def _as_ops(lab: Lab, folder: Path) -> tuple[Cluster, Path]:
    """The same machines by the login of a user `ops`."""
    access = lab.cluster.ssh.model_copy(update={"config_file": None, "proxy_command": None})
    nodes = tuple(lab.cluster.node(name).model_copy(update={"user": "ops"}) for name in WAYS)
    cluster = Cluster(name="asking", substrate="onprem", engine="ssh", nodes=nodes, ssh=access)
    document = folder / "onprem.toml"
    document.write_text(onprem.render(cluster))
    return cluster, document


SECRET = "geheim-4711"
PATTERN = "geheim[-]4711"
"""Finds the password, and not the command that looks for it."""
OPS = """
id ops >/dev/null 2>&1 || useradd -m -s /bin/bash ops
mkdir -p /home/ops/.ssh
cp /home/shoal/.ssh/authorized_keys /home/ops/.ssh/
chown -R ops: /home/ops/.ssh
usermod -p '@HASH@' ops
printf 'Defaults:ops timestamp_timeout=0\\nops ALL=(ALL) ALL\\n' >/etc/sudoers.d/ops
"""
SEEN = f"""
while sleep 0.2; do
    cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -q '{PATTERN}' && touch /run/seen
done
"""
"""Whether the password ever is a word of a process."""


def test_sudo_with_a_password_from_the_check_to_the_teardown(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Plant(lab.cluster, lab.document)
    # Hashed here: a command with the password in it would be in the machines' own logs.
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=SECRET, capture_output=True, text=True, check=True
    )
    for name in WAYS:
        root.on(name, OPS.replace("@HASH@", hashed.stdout.strip()))
        root.on(name, f"systemd-run --quiet --unit seen sh -c {shlex.quote(SEEN)}")
    cluster, document = _as_ops(lab, tmp_path)
    monkeypatch.setenv("SHOAL_SITE", str(site_document(Plant(cluster, document), tmp_path)))
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    said = []

    def shoal(*words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "shoal", *words, "--cluster", str(document)]
        done = subprocess.run(command, input=typed, capture_output=True, text=True, check=False)
        said.append(done.stdout + done.stderr)
        return done

    try:
        without = shoal("site", "check")
        assert without.returncode == 2, without.stderr
        assert "sudo asks ops for a password" in without.stdout
        wrong = shoal("site", "check", "--ask-sudo-password", typed="wrong\n")
        assert wrong.returncode == 2, wrong.stderr
        check = shoal("site", "check", "--ask-sudo-password", typed=f"{SECRET}\n")
        assert check.returncode == 0, check.stdout + check.stderr
        deploy = shoal("site", "deploy", "--ask-sudo-password", typed=f"{SECRET}\n")
        assert deploy.returncode == 0, deploy.stderr
        again = shoal("site", "deploy", "--ask-sudo-password", typed=f"{SECRET}\n")
        assert "site: 0 changed" in again.stdout, again.stdout + again.stderr
        listed = shoal("nodes", "list")
        assert listed.returncode == 3, "sudo asks for a password, and none was given"
        listed = shoal("nodes", "list", "--ask-sudo-password", typed=f"{SECRET}\n")
        assert listed.returncode == 0, listed.stdout + listed.stderr
        teardown = shoal("site", "teardown", "--ask-sudo-password", typed=f"{SECRET}\n")
        assert teardown.returncode == 0, teardown.stderr
        for name in WAYS:
            assert not root.holds(name, "[ -e /run/seen ]"), "the password was a word of a process"
            assert not root.holds(name, f"journalctl --no-pager 2>/dev/null | grep -q '{PATTERN}'")
            assert not root.holds(name, "[ -e /var/lib/shoal ]")
        assert SECRET not in "".join(said)
        kept = [
            path for path in (tmp_path / "state").rglob("*") if path.is_file() and SECRET in path.read_text("utf-8")
        ]
        assert kept == []
    finally:
        ssh.close(cluster)
        for name in WAYS:
            root.on(name, "systemctl stop seen; rm -f /etc/sudoers.d/ops /run/seen; userdel -rf ops 2>/dev/null")


SUDOERS = {
    "requiretty": "Defaults:ops requiretty\\nops ALL=(ALL) NOPASSWD: ALL\\n",
    "some": "ops ALL=(ALL) NOPASSWD: /usr/bin/apt-get, /usr/bin/systemctl\\n",
}


@pytest.mark.parametrize("sudo", SUDOERS)
def test_sudo_that_wants_a_terminal_or_lets_some_commands_run(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sudo: str
) -> None:
    root = Plant(lab.cluster, lab.document)
    for name in WAYS:
        root.on(name, f"{OPS.replace('@HASH@', '!')}\nprintf '{SUDOERS[sudo]}' >/etc/sudoers.d/ops")
    cluster, document = _as_ops(lab, tmp_path)
    plant = Plant(cluster, document)
    monkeypatch.setenv("SHOAL_SITE", str(site_document(plant, tmp_path)))
    try:
        report = examine(cluster, [*WAYS], sites.SiteDocument(cluster="asking"), bacalhau=False, knobs={})
        refused = [entry.what for entry in report.in_the_way]
        if sudo == "some":
            assert refused == ["sudo lets ops run some commands only"] * len(WAYS)
            # sudo itself, where it may not ask, says no more than that it wants a password.
            with pytest.raises(ShoalError, match=r"let sudo run every command without \(`NOPASSWD: ALL` in sudoers\)"):
                plant.deploy(dry=True)
        else:
            # Here script(1) makes the terminal.
            assert refused == []
            plant.deploy()
            assert changed(plant.deploy()) == []
            plant.deploy("teardown")
    finally:
        ssh.close(cluster)
        for name in WAYS:
            root.on(name, "rm -f /etc/sudoers.d/ops; userdel -rf ops 2>/dev/null")
