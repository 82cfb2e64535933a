"""The ssh command line that is built, and ssh's own words told apart."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fake_nodes import FakeNodes

from shoal.cluster.document import Cluster, Node, SshAccess
from shoal.errors import Exit, ShoalError, UsageError
from shoal.ssh import client as ssh
from shoal.ssh.client import SshFailure
from shoal.ssh.failures import error_from

NODE = Node(name="c1", roles=("compute",), address="10.0.0.11", port=2222, user="pi")
REQUESTER = Node(name="r", roles=("requester",), address="10.0.0.10")


@pytest.fixture(autouse=True)
def _runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")


def cluster(**access: object) -> Cluster:
    return Cluster(name="x", substrate="onprem", nodes=(REQUESTER, NODE), ssh=SshAccess.model_validate(access))


def effective(argv: list[str]) -> dict[str, str]:
    """What the real client makes of the options; it connects to nothing."""
    said = subprocess.run([argv[0], "-G", *argv[1:]], capture_output=True, text=True, check=True).stdout
    return dict(line.partition(" ")[::2] for line in said.splitlines())


def test_the_real_client_takes_the_options_as_meant(tmp_path: Path) -> None:
    folder = tmp_path / 'a "b" 100%c'
    folder.mkdir()
    key, known = folder / "key", folder / "known hosts"
    key.touch()
    known.touch()
    access = {"identity_file": key, "known_hosts_file": known, "proxy_command": "nc %h %p"}
    seen = effective(ssh.ssh_command(cluster(**access), NODE, "true"))
    assert seen["batchmode"] == "yes"
    assert seen["stricthostkeychecking"] in ("yes", "true")
    assert seen["userknownhostsfile"] == str(known)
    assert seen["identityfile"].replace("%%", "%") == str(key)  # -G shows it before tokens are read
    assert seen["identitiesonly"] == "yes"
    assert seen["proxycommand"] == "nc %h %p"
    assert (seen["user"], seen["port"], seen["hostname"]) == ("pi", "2222", "10.0.0.11")
    assert int(seen["connecttimeout"]) > 0
    assert int(seen["serveraliveinterval"]) > 0
    assert seen["controlmaster"] == "auto"
    assert len(seen["controlpath"]) < 90


def test_the_users_own_configuration_holds_unless_one_is_named(tmp_path: Path) -> None:
    assert "-F" not in ssh.ssh_command(cluster(), NODE, "true")
    config = tmp_path / "config"
    config.write_text("Host *\n  Compression yes\n")
    assert effective(ssh.ssh_command(cluster(config_file=config), NODE, "true"))["compression"] == "yes"


def test_missing_files_are_refused_in_one_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        ssh.ssh_command(cluster(identity_file=tmp_path / "no", known_hosts_file=tmp_path / "nor"), NODE, "true")
    assert [fault.where for fault in raised.value.faults] == ["ssh.identity_file", "ssh.known_hosts_file"]


@pytest.mark.parametrize("word", ["a b", "it's", 'say "x"', "$HOME `id` \\", "line\nbreak", "-n", "", "*", "ä;rm"])
def test_every_word_arrives_as_it_is(word: str) -> None:
    argv = ssh.ssh_command(cluster(), NODE, "printf", "%s|", word)
    assert argv[-3:-1] == ["--", "10.0.0.11"]
    said = subprocess.run(["sh", "-c", argv[-1]], capture_output=True, text=True, check=True).stdout
    assert said == f"{word}|"


def test_root_is_reached_through_sudo_only_where_it_must() -> None:
    assert shlex.split(ssh.ssh_command(cluster(), NODE, "id", root=True)[-1]) == ["sudo", "-n", "--", "id"]
    assert ssh.ssh_command(cluster(), REQUESTER, "id", root=True)[-1] == "id"
    assert ssh.ssh_command(cluster(), NODE)[-1] == "10.0.0.11"


def test_connections_are_shared_in_a_private_place_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    runtime = Path("/tmp") / f"s{os.getpid()}"
    runtime.mkdir(mode=0o700)
    try:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        ssh.ssh_command(cluster(), NODE, "true")
        (place,) = runtime.iterdir()
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        place.chmod(0o777)
        with pytest.raises(ShoalError, match="is not a private directory of yours"):
            ssh.ssh_command(cluster(), NODE, "true")
        place.rmdir()
    finally:
        runtime.rmdir()


def test_connections_made_under_other_rules_are_not_shared(tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.touch()
    one = ssh.ssh_command(cluster(), NODE, "true")
    other = ssh.ssh_command(cluster(known_hosts_file=known), NODE, "true")
    paths = [next(word for word in argv if word.startswith("ControlPath=")) for argv in (one, other)]
    assert paths[0] != paths[1]


@pytest.mark.parametrize(
    ("words", "failure", "transient"),
    [
        (
            "@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
            SshFailure.HOST_KEY_CHANGED,
            False,
        ),
        (
            "No ED25519 host key is known for 10.0.0.11 and you have requested strict checking.\n"
            "Host key verification failed.",
            SshFailure.HOST_KEY_UNKNOWN,
            False,
        ),
        ("ssh: connect to host 10.0.0.11 port 22: Connection refused", SshFailure.REFUSED, True),
        ("ssh: connect to host 10.0.0.11 port 22: Connection timed out", SshFailure.TIMED_OUT, True),
        ("Connection timed out during banner exchange", SshFailure.TIMED_OUT, True),
        ("ssh: connect to host 10.0.0.11 port 22: No route to host", SshFailure.UNROUTED, True),
        ("ssh: Could not resolve hostname x: Name or service not known", SshFailure.NAME, True),
        ("pi@10.0.0.11: Permission denied (publickey).", SshFailure.PERMISSION, False),
        (
            "@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\npi@x: Permission denied (publickey).",
            SshFailure.KEY_FILE,
            False,
        ),
        (
            "x: line 1: Bad configuration option: foo\nx: terminating, 1 bad configuration options",
            SshFailure.CONFIG,
            False,
        ),
        ("Timeout, server 10.0.0.11 not responding.", SshFailure.LOST, True),
        ("client_loop: send disconnect: Broken pipe", SshFailure.LOST, True),
        ("", SshFailure.LOST, True),
    ],
)
def test_failures_are_told_apart(words: str, failure: SshFailure, transient: bool) -> None:
    error = error_from(NODE, words)
    assert error.failure is failure
    assert error.transient is transient
    assert "c1 (pi@10.0.0.11:2222)" in error.message
    assert error.hint


def test_noise_of_shared_connections_is_not_taken_for_the_reason() -> None:
    words = "ControlSocket /tmp/x already exists, disabling multiplexing\nssh: connect to host x: Connection refused\n"
    assert error_from(NODE, words).failure is SshFailure.REFUSED


def test_a_machine_without_ssh_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ShoalError, match="OpenSSH client is needed") as raised:
        ssh.run(cluster(), NODE, "true")
    assert raised.value.exit_code is Exit.MISSING
    with pytest.raises(ShoalError, match="OpenSSH client is needed"):
        list(ssh.stream(cluster(), NODE, "true"))


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    return FakeNodes.make(tmp_path, monkeypatch, user="pi")


def test_what_a_command_says_and_how_it_ends(nodes: FakeNodes) -> None:
    node = nodes.cluster.node("c1")
    assert ssh.run(nodes.cluster, node, "cat", stdin=b"a\0b").stdout == b"a\0b"
    assert ssh.run(nodes.cluster, node, "sh", "-c", "exit 7", check=False).exit_code == 7
    with pytest.raises(ssh.RemoteError, match="`sh` ended with exit code 7: no luck"):
        ssh.run(nodes.cluster, node, "sh", "-c", "echo no luck >&2; exit 7")
    with pytest.raises(ssh.SshError, match="no answer in time") as raised:
        ssh.run(nodes.cluster, node, "sleep", "5", timeout_s=0.5)
    assert raised.value.transient


def test_lines_come_before_the_command_ends_and_its_failure_after(nodes: FakeNodes) -> None:
    node = nodes.cluster.node("c1")
    lines = ssh.stream(nodes.cluster, node, "sh", "-c", "echo one; echo 'two ä'; echo late >&2; exit 3")
    assert [next(lines), next(lines)] == ["one", "two ä"]
    with pytest.raises(ssh.RemoteError, match="late"):
        next(lines)
    nodes.down("c1")
    with pytest.raises(ssh.SshError, match="refused"):
        list(ssh.stream(nodes.cluster, node, "true"))


def test_a_stream_that_nobody_reads_on_is_ended(nodes: FakeNodes) -> None:
    lines = ssh.stream(nodes.cluster, nodes.cluster.node("c1"), "sh", "-c", "echo one; exec sleep 60")
    assert next(lines) == "one"
    lines.close()


def test_sudo_that_asks_for_a_password_is_named(nodes: FakeNodes) -> None:
    with pytest.raises(ssh.RemoteError) as raised:
        ssh.run(nodes.cluster, nodes.cluster.node("c1"), "sh", "-c", "echo 'sudo: a password is required' >&2; exit 1")
    assert "run sudo on the node without a password" in str(raised.value)


def test_every_node_is_asked_and_one_that_fails_hinders_no_other(nodes: FakeNodes) -> None:
    nodes.down("c1")
    answers = ssh.on_each(nodes.cluster.compute, lambda node: ssh.run(nodes.cluster, node, "echo", node.name).text)
    assert isinstance(answers["c1"], ssh.SshError)
    assert answers["c2"] == "c2"
    assert ssh.on_each([], lambda node: node.name) == {}


LEAVE = """
import threading, time
from shoal.ssh import client as ssh
from shoal.cluster.document import Node
hung = threading.Event()
nodes = [Node(name="a", address="192.0.2.1", roles=("requester",))]
begun = threading.Event()
def act(node):
    begun.set()
    hung.wait(60)
threading.Thread(target=lambda: ssh.on_each(nodes, act), daemon=True).start()
begun.wait(10)
"""


def test_a_node_that_does_not_answer_keeps_no_process_alive() -> None:
    """As after a second Ctrl-C, which leaves the containers running: nobody waits for `docker stop` any more."""
    top = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", LEAVE], cwd=top, check=True, timeout=20)


@pytest.mark.parametrize("error", [UsageError("no key"), ValueError("a fault")])
def test_what_is_no_nodes_fault_is_raised(nodes: FakeNodes, error: Exception) -> None:
    def act(node: Node) -> None:
        if node.name == "c2":
            raise error

    with pytest.raises(type(error), match=str(error)):
        ssh.on_each(nodes.cluster.compute, act)


def test_closing_leaves_no_connection_and_no_file(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Path("/tmp") / f"s{os.getpid()}c"
    runtime.mkdir(mode=0o700)
    try:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        argv = ssh.ssh_command(nodes.cluster, nodes.cluster.node("c1"), "true")
        option = next(word for word in argv if word.startswith("ControlPath="))
        Path(option.partition("=")[2].strip('"')).touch()
        ssh.close(nodes.cluster)
        assert sum("-O" in call for call in nodes.ssh_calls()) == 1
        assert list(runtime.iterdir()) == []
    finally:
        runtime.rmdir()


def test_a_missing_file_of_known_hosts_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        ssh.check_access(SshAccess(known_hosts_file=tmp_path / "known_hosts"))
    assert "shoal cluster host-keys" in (caught.value.hint or "")
    with pytest.raises(UsageError) as caught:
        ssh.check_access(SshAccess(identity_file=tmp_path / "id"))
    assert "host-keys" not in (caught.value.hint or "")
