"""Role `docker`: fresh, converged, interrupted; daemon.json beside somebody else's keys; the vendor's key."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from role_harness import CLUSTER, changed, run, unit_answer

from roles import docker
from roles.common.knobs import RefusedError
from roles.docker.config import merged, parse, rendered, wanted_config, without
from roles.docker.defaults import Docker
from roles.docker.openpgp import fingerprint

ENGINE = ["docker.io installed", "iptables installed"]
WANTED = wanted_config(Docker(), CLUSTER)


def files(there: dict | str | None, record: dict | None) -> list[str]:
    lines = []
    for label, value in (("file", there), ("record", record)):
        if value is not None:
            text = value if isinstance(value, str) else rendered(value)
            lines.append(f"{label} {base64.b64encode(text.encode()).decode()}")
    return lines


def converged(**more):
    return {
        "base64 -w0": files(WANTED, WANTED),
        "dpkg-query": ENGINE,
        "systemctl show docker.service": unit_answer(),
        **more,
    }


def test_fresh_machine_gets_its_configuration_before_the_engine():
    outcome = run(docker.install, {"systemctl show": unit_answer(ActiveState="inactive", UnitFileState="disabled")})
    text = outcome.text()
    assert not outcome.failed
    assert text.index("/etc/docker/daemon.json") < text.index("docker.io iptables")
    assert "systemctl enable --quiet docker.service" in text
    assert "systemctl start docker.service" in text
    assert "restart" not in text


def test_converged_machine_is_left_alone():
    assert changed(run(docker.install, converged())) == []


def test_a_missed_restart_is_made_up_for():
    outcome = run(
        docker.install,
        converged(**{"systemctl show docker.service": unit_answer(started_s=10.0, configured_s=10.000001)}),
    )
    assert changed(outcome) == ["docker | Run the engine"]


def test_the_site_registry_is_trusted_and_logs_are_rotated():
    assert WANTED["insecure-registries"] == ["192.0.2.10:5000"]
    assert WANTED["log-opts"] == {"max-file": "3", "max-size": "10m"}
    assert wanted_config(Docker(docker_dns=("192.0.2.1",), docker_mtu=1400), CLUSTER)["mtu"] == 1400


def test_keys_of_others_stay():
    theirs = {"data-root": "/srv/docker", "insecure-registries": ["hub.example:5000"]}
    both = merged(theirs, {}, WANTED)
    assert both["data-root"] == "/srv/docker"
    assert both["insecure-registries"] == ["hub.example:5000", "192.0.2.10:5000"]
    assert merged(both, WANTED, WANTED) == both
    assert without(both, WANTED) == theirs


def test_a_key_that_is_no_longer_wanted_goes():
    before = {**WANTED, "mtu": 1400}
    assert "mtu" not in merged(before, before, WANTED)


def test_daemon_json_that_is_no_json_is_not_overwritten():
    outcome = run(docker.install, converged(**{"base64 -w0": files("{broken", None)}))
    assert outcome.failed
    assert "base64 -d" not in outcome.text()


def test_without_systemd_nothing_is_started():
    data = {"docker_service": False, "docker_configure": False}
    outcome = run(docker.install, {}, data=data)
    assert "policy-rc.d" in outcome.text()
    assert "systemctl" not in outcome.text()


def test_remove_leaves_an_engine_that_was_there_before():
    answers = {"base64 -w0": files({**WANTED, "data-root": "/srv"}, WANTED)}
    outcome = run(docker.remove, answers)
    assert changed(outcome) == ["docker | Take our settings back"]
    assert base64.b64encode(rendered({"data-root": "/srv"}).encode()).decode() in outcome.text()


def test_remove_takes_an_engine_of_ours():
    outcome = run(docker.remove, {"base64 -w0": files(WANTED, WANTED), "for p in /var/lib/shoal/roles": ["there"]})
    text = outcome.text()
    assert "rm -f /etc/docker/daemon.json" in text
    assert "purge $ours" in text
    assert 'find "$d" -xdev -mindepth 1 -delete' in text


def test_remove_refuses_while_containers_of_others_run():
    outcome = run(
        docker.remove,
        {
            "for p in /var/lib/shoal/roles": ["/var/lib/shoal/roles/docker.packages"],
            "docker ps -aq": ["0123456789ab"],
        },
    )
    assert outcome.failed
    assert "purge" not in outcome.text()


def packet(body: bytes) -> bytes:
    return b"\x99" + len(body).to_bytes(2, "big") + body


BODY = b"\x04" + bytes(range(200))


def test_fingerprint_of_a_key_in_both_forms():
    wanted = hashlib.sha1(b"\x99" + len(BODY).to_bytes(2, "big") + BODY).hexdigest().upper()
    raw = packet(BODY)
    armour = (
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: 1\n\n"
        + base64.encodebytes(raw)
        + b"=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
    )
    new_format = b"\xc6" + bytes([192 + ((len(BODY) - 192) >> 8), (len(BODY) - 192) & 255]) + BODY
    assert fingerprint(raw) == fingerprint(armour) == fingerprint(new_format) == wanted


@pytest.mark.parametrize("data", [b"", b"hello world", packet(b"\x03abcdefgh"), packet(BODY)[:50], b"\xff" * 20])
def test_what_is_no_key_is_refused(data):
    with pytest.raises(ValueError, match="it "):
        fingerprint(data)


def test_a_second_key_behind_the_first_is_refused():
    """apt trusts every key of a file; the fingerprint is of one."""
    subkey = b"\xb9" + packet(BODY)[1:]
    assert fingerprint(packet(BODY) + subkey) == fingerprint(packet(BODY))
    for more in (packet(BODY[:-1] + b"x"), b"\xff", b"plain text", subkey[:40]):
        with pytest.raises(ValueError, match="it "):
            fingerprint(packet(BODY) + more)


def test_vendor_engine_needs_its_key(tmp_path):
    wrong = tmp_path / "key.gpg"
    wrong.write_bytes(packet(BODY))
    with pytest.raises(RefusedError) as caught:
        run(docker.install, {}, data={"docker_source": "docker-ce"})
    assert {fault.where.split(": ")[1] for fault in caught.value.faults} == {
        "docker_ce_repository",
        "docker_ce_key_file",
    }
    with pytest.raises(RefusedError, match="has the fingerprint"):
        run(
            docker.install,
            {},
            data={
                "docker_source": "docker-ce",
                "docker_ce_repository": "https://packages.example/linux/debian",
                "docker_ce_key_file": str(wrong),
            },
        )


def test_vendor_engine(tmp_path):
    key = tmp_path / "key.gpg"
    key.write_bytes(packet(BODY))
    data = {
        "docker_source": "docker-ce",
        "docker_ce_repository": "https://packages.example/linux/debian",
        "docker_ce_key_file": str(key),
        "docker_ce_fingerprint": fingerprint(key.read_bytes()),
    }
    answers = {"os-release": ["suite bookworm", "arch arm64"], "systemctl show": unit_answer()}
    text = run(docker.install, answers, data=data).text()
    written = [base64.b64decode(part.split(" ")[0]).decode() for part in text.split("printf %s ")[1:]]
    source = next(content for content in written if content.startswith("Types: deb"))
    assert "Suites: bookworm\n" in source
    assert "Architectures: arm64\n" in source
    assert "Signed-By: /etc/apt/keyrings/shoal-docker-ce.asc\n" in source
    assert "docker-ce docker-ce-cli" in text


def test_parse_tells_where_a_file_is_broken():
    assert parse("", "x") == {}
    with pytest.raises(ValueError, match="line 2"):
        parse('{\n"a" 1}', "x")
    with pytest.raises(ValueError, match="not a JSON object"):
        parse("[]", "x")
    assert json.loads(rendered({"b": 1, "a": 2})) == {"a": 2, "b": 1}
