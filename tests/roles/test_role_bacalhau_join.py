"""A node's token shown to the orchestrator before the node is changed: taken, refused, nobody there."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from role_harness import CLUSTER, changed, run, unit_answer

from roles import bacalhau
from roles.bacalhau.config import compute, config, rendered
from roles.bacalhau.defaults import Bacalhau
from roles.bacalhau.facts import FILES
from shoal.engines.bacalhau import secrets, tls

TOKEN = "the-token-of-this-cluster"
GATE = CLUSTER.node("gate-1")


@contextmanager
def orchestrator(
    greeting: bytes = b'INFO {"auth_required":true}\r\n', context: ssl.SSLContext | None = None
) -> Iterator[str]:
    """The message port of an orchestrator, as far as a client sees it before its first subscription."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                way, _ = server.accept()
            except OSError:
                return
            way.sendall(greeting)
            try:
                way = context.wrap_socket(way, server_side=True) if context else way
            except OSError:
                continue  # the client refused
            with way, way.makefile("rb") as stream:
                hello = stream.readline()
                if not hello.startswith(b"CONNECT "):
                    continue
                if json.loads(hello.removeprefix(b"CONNECT "))["auth_token"] != TOKEN:
                    way.sendall(b"-ERR 'Authorization Violation'\r\n")
                elif stream.readline() == b"PING\r\n":
                    way.sendall(b"PONG\r\n")

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def asked(
    tmp_path: Path, verb: str, place: str, token: str = TOKEN, *more: str, authority: str = ""
) -> subprocess.CompletedProcess[str]:
    compute: dict[str, object] = {"Orchestrators": [f"nats://{place}"], "Auth": {"Token": token}}
    if authority:
        (tmp_path / "authority.pem").write_text(authority)
        compute["TLS"] = {"CACert": str(tmp_path / "authority.pem")}
    settings = {"Compute": compute}
    path = tmp_path / "compute.yaml"
    path.write_bytes(rendered(settings))
    command = [sys.executable, str(FILES / "join.py"), verb, str(path), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_the_right_token_is_taken(tmp_path: Path) -> None:
    with orchestrator() as place:
        assert asked(tmp_path, "look", place).stdout == "taken\n"
        assert asked(tmp_path, "wait", place, TOKEN, "5").returncode == 0


def test_a_wrong_token_is_refused_at_once_and_not_shown(tmp_path: Path) -> None:
    with orchestrator() as place:
        assert asked(tmp_path, "look", place, "wrong-token").stdout == ""
        done = asked(tmp_path, "wait", place, "wrong-token", "600")
    assert done.returncode == 1
    assert f"the orchestrator at {place} refuses this node's token (Authorization Violation)" in done.stderr
    assert "without --limit" in done.stderr
    assert "wrong-token" not in done.stderr + done.stdout


def test_nobody_there_is_waited_for_and_told(tmp_path: Path) -> None:
    with orchestrator() as place:
        pass
    assert asked(tmp_path, "look", place).stdout == ""
    done = asked(tmp_path, "wait", place, TOKEN, "0.6")
    assert done.returncode == 1
    assert f"the orchestrator at {place} does not answer this node" in done.stderr
    assert "refused" in done.stderr


def test_something_else_there_is_told(tmp_path: Path) -> None:
    with orchestrator(b"HTTP/1.1 400 Bad Request\r\n") as place:
        done = asked(tmp_path, "wait", place, TOKEN, "0")
    assert "what answers there is not the orchestrator" in done.stderr


def test_the_authority_is_asked_for_before_the_token_is_shown(tmp_path: Path) -> None:
    ours, theirs = (tls.current(None, name, ["127.0.0.1"]) for name in ("depot", "other"))
    (tmp_path / "certificate.pem").write_text(ours.certificate)
    (tmp_path / "key.pem").write_text(ours.key.get_secret_value())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with orchestrator(b'INFO {"tls_required":true}\r\n', context) as place:
        assert asked(tmp_path, "look", place, authority=ours.authority_certificate).stdout == "taken\n"
        assert asked(tmp_path, "wait", place, TOKEN, "5", authority=ours.authority_certificate).returncode == 0
        assert asked(tmp_path, "look", place, authority=theirs.authority_certificate).stdout == ""
        done = asked(tmp_path, "wait", place, TOKEN, "600", authority=theirs.authority_certificate)
        assert done.returncode == 1
        assert "does not show a certificate of this cluster's authority" in done.stderr
        wrong = asked(tmp_path, "wait", place, "wrong", "600", authority=ours.authority_certificate)
        assert "refuses this node's token (Authorization Violation)" in wrong.stderr


def test_an_orchestrator_that_does_not_encrypt_is_not_shown_the_token(tmp_path: Path) -> None:
    authority = tls.current(None, "depot", ["127.0.0.1"]).authority_certificate
    with orchestrator() as place:
        assert asked(tmp_path, "look", place, authority=authority).stdout == ""
        done = asked(tmp_path, "wait", place, TOKEN, "600", authority=authority)
    assert done.returncode == 1
    assert "does not encrypt yet" in done.stderr


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    program = tmp_path / "bacalhau"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\x00\x3e\x00" + b"engine")
    sha256 = hashlib.sha256(program.read_bytes()).hexdigest()
    return {"bacalhau_programs": {"amd64": {"path": str(program), "sha256": sha256, "version": "1.9.3"}}}


def test_settings_are_placed_only_once_the_orchestrator_takes_the_token(data: dict[str, object]) -> None:
    outcome = run(bacalhau.install, {"systemctl show": unit_answer()}, node="gate-1", data=data)
    placing = next(command for command in outcome.commands if "FINAL=/etc/bacalhau/compute.yaml\n" in command)
    # What arrive.sh does with the proof is tried in test_programs.py.
    assert "PROOF=yes\n" in placing
    proof = next(line for line in placing.splitlines() if line.startswith("proved() { "))
    assert "python3 - wait /etc/bacalhau/." in proof


def test_a_token_that_is_not_taken_any_more_is_found_although_nothing_changes(data: dict[str, object]) -> None:
    settings = rendered(config(compute(GATE), Bacalhau(), GATE, CLUSTER, secrets.ensure("depot")))
    answers = {
        f"[ ! -f {compute(GATE).config_path} ]": ["600 root root", f"{hashlib.sha256(settings).hexdigest()}  -"],
        "systemctl show": unit_answer(ActiveState="inactive"),
    }
    outcome = run(bacalhau.install, answers, node="gate-1", data=data)
    assert "bacalhau | Configure the compute" not in changed(outcome)
    assert "bacalhau | See that the orchestrator takes the node" in changed(outcome)
    text = outcome.text()
    assert text.index("python3 - wait /etc/bacalhau/compute.yaml") < text.index("systemctl start bacalhau")


def test_a_drained_node_joins_nothing(data: dict[str, object]) -> None:
    answers = {"for p in /var/lib/shoal/drained": ["/var/lib/shoal/drained"], "systemctl show": unit_answer()}
    outcome = run(bacalhau.install, answers, node="gate-1", data=data)
    assert "python3 - wait" not in outcome.text()
