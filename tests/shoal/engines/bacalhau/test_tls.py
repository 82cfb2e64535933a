"""The cluster's authority: who is trusted for how long, what a renewal leaves alone, and that keys are not shown."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from shoal.engines.bacalhau import secrets, tls

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def made() -> tls.Tls:
    return tls.current(None, "depot", ["192.0.2.10", "office.example"], NOW)


def test_what_is_good_stays(made):
    assert tls.current(made, "depot", ["192.0.2.10"], NOW + timedelta(days=200)) is made


def test_it_is_renewed_before_it_ends_and_nodes_need_nothing_new(made):
    later = NOW + timedelta(days=tls.SERVER_DAYS - tls.RENEW_DAYS + 1)
    renewed = tls.current(made, "depot", ["192.0.2.10"], later)
    assert renewed.certificate != made.certificate
    assert renewed.key != made.key
    assert renewed.authority_certificate == made.authority_certificate
    assert tls.ends(renewed) > tls.ends(made)


def test_another_address_needs_another_certificate_and_no_other_authority(made):
    moved = tls.current(made, "depot", ["100.64.0.1"], NOW)
    assert moved.certificate != made.certificate
    assert moved.authority_certificate == made.authority_certificate


def test_an_authority_that_ends_is_made_anew_with_all_that_it_signed(made):
    end = NOW + timedelta(days=tls.AUTHORITY_DAYS - tls.SERVER_DAYS - tls.RENEW_DAYS + 1)
    anew = tls.current(made, "depot", ["192.0.2.10"], end)
    assert anew.authority_certificate != made.authority_certificate
    assert anew.authority_key != made.authority_key


def served(folder: Path, there: tls.Tls) -> tuple[socket.socket, int]:
    (folder / "certificate.pem").write_text(there.certificate)
    (folder / "key.pem").write_text(there.key.get_secret_value())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                way, _ = server.accept()
            except OSError:
                return
            try:
                context.wrap_socket(way, server_side=True).close()
            except OSError:
                way.close()  # the client refused

    threading.Thread(target=serve, daemon=True).start()
    return server, server.getsockname()[1]


def test_a_client_takes_it_from_this_authority_alone(tmp_path):
    ours, theirs = (tls.current(None, name, ["192.0.2.10"]) for name in ("depot", "other"))
    server, port = served(tmp_path, ours)
    with server:
        for there, taken in ((ours, True), (theirs, False)):
            context = ssl.create_default_context(cadata=there.authority_certificate)
            context.verify_flags |= ssl.VERIFY_X509_STRICT
            with socket.create_connection(("127.0.0.1", port)) as way:
                if taken:
                    context.wrap_socket(way, server_hostname="127.0.0.1").close()
                    continue
                with pytest.raises(ssl.SSLCertVerificationError):
                    context.wrap_socket(way, server_hostname="127.0.0.1")
        context = ssl.create_default_context(cadata=ours.authority_certificate)
        with socket.create_connection(("127.0.0.1", port)) as way, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(way, server_hostname="192.0.2.99")
        server.shutdown(socket.SHUT_RDWR)  # closing alone does not wake the thread that waits for somebody


def test_keys_are_kept_in_the_private_file_and_shown_nowhere():
    tokens, there = secrets.ensure_tls("depot", ["192.0.2.10"])
    assert secrets.path("depot").stat().st_mode & 0o777 == 0o600
    assert secrets.path("depot").parent.stat().st_mode & 0o777 == 0o700
    for key in (there.key, there.authority_key):
        assert "PRIVATE KEY" in key.get_secret_value()
        assert key.get_secret_value() not in repr(tokens) + str(there)
    assert secrets.ensure_tls("depot", ["192.0.2.10"]) == (tokens, there)
    assert secrets.load("depot") == tokens


def test_a_file_of_an_earlier_version_keeps_its_tokens():
    old = secrets.ensure("depot")
    assert "tls" not in json.loads(secrets.path("depot").read_text())
    tokens, _ = secrets.ensure_tls("depot", ["192.0.2.10"])
    assert (tokens.node_token, tokens.control_key, tokens.reader_key) == (
        old.node_token, old.control_key, old.reader_key,
    )  # fmt: skip
    secrets.adopt("depot", SecretStr("another-token-of-a-stack"))
    after = secrets.load("depot")
    assert after is not None
    assert after.tls == tokens.tls


def test_rotation_makes_all_anew_and_can_be_taken_back():
    assert secrets.rotate("depot") is None
    before, _ = secrets.ensure_tls("depot", ["192.0.2.10"])
    assert secrets.rotate("depot") == before
    tokens, there = secrets.ensure_tls("depot", ["192.0.2.10"])
    assert before.tls is not None
    assert there.authority_key != before.tls.authority_key
    assert not {tokens.node_token, tokens.control_key, tokens.reader_key} & {
        before.node_token, before.control_key, before.reader_key,
    }  # fmt: skip
    secrets.restore("depot", before)
    assert secrets.load("depot") == before


def test_the_folder_of_secrets_is_closed_whoever_made_it():
    secrets.path("depot").parent.mkdir(parents=True, mode=0o755)
    secrets.path("depot").parent.chmod(0o755)
    secrets.ensure("depot")
    assert secrets.path("depot").parent.stat().st_mode & 0o777 == 0o700
