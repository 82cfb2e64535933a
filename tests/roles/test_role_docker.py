"""Role `docker`: whose engine it is, what of it changes, what is refused, what teardown takes; the vendor's key."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess

import pytest
from role_harness import CLUSTER, changed, run, unit_answer

from roles import docker
from roles.common.consent import DOCKER_RESTART
from roles.common.knobs import RefusedError
from roles.common.openpgp import fingerprint
from roles.docker.config import Ours, merged, parse, read_record, rendered, wanted_config
from roles.docker.defaults import Docker
from roles.docker.plan import action, ends, facts_of, first_record, plan, stands_in_the_way

ENGINE = ["docker.io installed", "iptables installed"]
WANTED = wanted_config(Docker(), CLUSTER)
SITE = "192.0.2.10:5000"
OWNERS = {"log-driver": "local", "log-opts": {"max-size": "50m"}, "live-restore": False, "data-root": "/srv/docker"}
OUR_PACKAGES = ("docker.io", "containerd", "iptables", "runc")


def encoded(value: dict | str) -> str:
    return base64.b64encode((value if isinstance(value, str) else rendered(value)).encode()).decode()


def record(keys: dict, **more) -> str:
    return Ours(keys=keys, **more).rendered()


def look(
    *,
    engine: str | None = "docker.io 20.10.24",
    ours: tuple[str, ...] = OUR_PACKAGES,
    file: dict | str | None = None,
    known: dict | str | None = None,
    active: bool = True,
    trusts: str = SITE,
    live_restore: bool = True,
    more: tuple[str, ...] = (),
) -> list[str]:
    """What files/look.sh prints of a machine."""
    lines = [f"ours {name}" for name in ours]
    if engine:
        lines += [
            f"package {engine}",
            "program /usr/bin/docker",
            "unit-LoadState loaded",
            f"unit-ActiveState {'active' if active else 'inactive'}",
            f"unit-UnitFileState {'enabled' if active else 'disabled'}",
        ]
        if active:
            lines += [
                f"version {engine.split()[1]}",
                f"live-restore {str(live_restore).lower()}",
                f"trusts {trusts}",
            ]
    if file is not None:
        lines.append(f"file {encoded(file)}")
    if known is not None:
        lines.append(f"record {encoded(known)}")
    return [*lines, "root /var/lib/docker", *more, "forward ACCEPT"]


def owners(**more) -> list[str]:
    """An engine that the machine's owner has."""
    return look(engine=more.pop("engine", "docker-ce 27.5.1"), ours=(), **more)


def answers(lines: list[str], **more):
    return {"DAEMON_JSON=": lines, "dpkg-query -W": ENGINE, "UNIT=docker.service": unit_answer(), **more}


def converged(**more):
    return answers(look(file=WANTED, known=record(WANTED)), **more)


def planned(lines: list[str], *agreed: str, **knobs):
    return plan(facts_of(lines), Docker(**knobs), CLUSTER, agreed)


def test_fresh_machine_gets_its_record_and_configuration_before_the_engine():
    outcome = run(
        docker.install,
        {
            "DAEMON_JSON=": look(engine=None, ours=()),
            "systemctl show": unit_answer(ActiveState="inactive", UnitFileState="disabled"),
        },
    )
    text = outcome.text()
    assert not outcome.failed
    assert text.index("/var/lib/shoal/roles/docker.json") < text.index("TARGET=/etc/docker/daemon.json")
    assert text.index("TARGET=/etc/docker/daemon.json") < text.index("WANTED='docker.io iptables'")
    assert "systemctl enable --quiet docker.service" in text
    assert "systemctl start docker.service" in text
    assert "systemctl restart" not in text


def test_a_client_that_is_a_package_apart_comes_too():
    """Debian 13: docker.io only recommends it, and the roles install nothing that is recommended."""
    bare = {
        "DAEMON_JSON=": [*look(engine=None, ours=()), "client-apart docker-cli"],
        "systemctl show": unit_answer(ActiveState="inactive", UnitFileState="disabled"),
    }
    assert "WANTED='docker-cli docker.io iptables'" in run(docker.install, bare).text()
    # Where the caller keeps the record, the packages are exactly those that he names.
    bare = {**bare, "dpkg-query -W": []}
    named = {"docker_record": False, "docker_configure": False, "docker_service": False}
    assert "WANTED='docker.io iptables'" in run(docker.install, bare, data=named).text()


@pytest.mark.parametrize(
    ("shown", "apart"),
    [
        ("Recommends: apparmor, docker-cli, git", ["client-apart docker-cli"]),
        ("Recommends: apparmor, git", []),
        ("", []),
    ],
)
def test_whether_the_client_is_apart(tmp_path, shown, apart):
    (tmp_path / "apt-cache").write_text(f"#!/bin/sh\necho '{shown}'\n")
    (tmp_path / "apt-cache").chmod(0o755)
    for name in ("dpkg-query", "systemctl", "iptables"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    for name in ("sh", "grep", "sed", "awk", "cat", "ls", "find", "tr", "tail", "base64", "readlink"):
        (tmp_path / name).symlink_to(shutil.which(name))
    program = docker.operations.Engine().command()
    done = subprocess.run(
        ["sh", "-c", program], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("client")] == apart


def test_converged_machine_is_left_alone():
    assert changed(run(docker.install, converged())) == []


def test_a_missed_restart_of_our_engine_is_made_up_for():
    late = unit_answer(started_s=10.0, configured_s=10.000001)
    outcome = run(docker.install, converged(**{"UNIT=docker.service": late}))
    assert changed(outcome) == ["docker | Run the engine"]
    assert "systemctl restart docker.service" in outcome.text()


def test_a_missed_reload_of_an_owners_engine_is_made_up_for_without_a_restart():
    ours = {"insecure-registries": [SITE]}
    lines = owners(file=ours, known=record(ours), trusts="")
    late = unit_answer(started_s=10.0, configured_s=11.0)
    outcome = run(docker.install, answers(lines, **{"UNIT=docker.service": late}))
    assert changed(outcome) == ["docker | Run the engine"]
    assert "REGISTRIES=192.0.2.10:5000" in outcome.text()
    assert "systemctl restart" not in outcome.text()


def test_the_site_registry_is_trusted_and_logs_are_rotated():
    assert WANTED["insecure-registries"] == [SITE]
    assert WANTED["log-opts"] == {"max-file": "3", "max-size": "10m"}
    assert wanted_config(Docker(docker_dns=("192.0.2.1",), docker_mtu=1400), CLUSTER)["mtu"] == 1400


def test_keys_of_others_stay():
    theirs = {"data-root": "/srv/docker", "insecure-registries": ["hub.example:5000"]}
    both = merged(theirs, Ours(), WANTED)
    assert both["data-root"] == "/srv/docker"
    assert both["insecure-registries"] == ["hub.example:5000", SITE]
    ours = Ours().with_settings(theirs, WANTED, "")
    assert merged(both, ours, WANTED) == both
    assert ours.keys["insecure-registries"] == [SITE]
    assert ours.taken_back(both) == theirs


def test_a_key_that_is_no_longer_wanted_goes():
    before = {**WANTED, "mtu": 1400}
    assert "mtu" not in merged(before, Ours(keys=before), WANTED)


def test_a_value_of_the_owners_that_a_knob_replaces_comes_back():
    theirs = {"mtu": 1500, "debug": True}
    wanted = {"mtu": 1400, "insecure-registries": [SITE]}
    ours = Ours().with_settings(theirs, wanted, "")
    there = merged(theirs, Ours(), wanted)
    assert there == {"mtu": 1400, "debug": True, "insecure-registries": [SITE]}
    assert ours.before == {"mtu": 1500}
    assert read_record(ours.rendered()) == ours
    # Run again, with our own settings in the file, the record stays what it is.
    assert ours.with_settings(there, wanted, "") == ours
    assert ours.taken_back(there) == theirs
    assert ours.taken_back({**there, "mtu": 9000})["mtu"] == 9000, "what he has changed since is his"


def test_how_logs_are_kept_is_the_owners_choice():
    assert set(wanted_config(Docker(), CLUSTER, there=OWNERS)) == {"insecure-registries"}
    only = wanted_config(Docker(), CLUSTER, there={"log-driver": "journald"})
    assert "log-opts" not in only, "options of another driver keep the engine from starting"
    assert only["live-restore"] is True
    assert set(wanted_config(Docker(), CLUSTER, owners=True)) == {"insecure-registries"}


def test_a_record_of_an_earlier_version_is_read():
    assert read_record(rendered(WANTED)) == Ours(keys=WANTED)
    assert changed(run(docker.install, answers(look(file=WANTED, known=WANTED)))) == []


@pytest.mark.parametrize("engine", ["docker-ce 27.5.1", "docker.io 20.10.24", "moby-engine 24.0.1"])
def test_an_engine_that_is_there_is_used_as_it_is(engine):
    what = planned(owners(engine=engine, file=OWNERS, trusts=""))
    assert not what.install
    assert what.refusals == ()
    assert what.wanted == {"insecure-registries": [SITE]}
    outcome = run(docker.install, answers(owners(engine=engine, file=OWNERS, trusts="")))
    text = outcome.text()
    assert not outcome.failed
    assert "apt" not in text
    assert "systemctl restart" not in text
    assert "systemctl reload" in text
    file = json.loads(base64.b64decode(text.split("CONTENT=")[1].split("\n")[0].strip("'")))
    assert file == {**OWNERS, "insecure-registries": [SITE]}


def test_what_the_owners_engine_trusts_already_is_not_written():
    flags = ("flag -H", "flag --insecure-registry=192.0.2.10:5000")
    what = planned(owners(trusts=SITE, more=flags))
    assert what.wanted == {}
    assert what.refusals == ()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        pytest.param(owners(trusts="", more=("flag --insecure-registry=x:1",)), "--insecure-registry", id="flag"),
        pytest.param(owners(trusts="", more=("flag --config-file=/etc/d.json",)), "--config-file", id="other file"),
        pytest.param(owners(engine="docker-ce 19.03.1"), "at least 20.10", id="old"),
        pytest.param([*look(engine=None, ours=()), "snap yes", "program /snap/bin/docker"], "snap", id="snap"),
        pytest.param(
            ["package podman-docker 4.3.1", "program /usr/bin/docker", "package podman 4.3"],
            "podman",
            id="podman-docker",
        ),
        pytest.param(
            [*look(engine=None, ours=()), "rootless /run/user/1000/docker.sock"], "not supported", id="rootless alone"
        ),
        pytest.param([*owners(), 'security ["name=rootless"]'], "without root", id="rootless answers"),
        pytest.param([*owners(active=False), "unit-UnitFileState masked"], "masked", id="masked"),
        pytest.param(owners(file="{broken"), "not JSON: line 1", id="settings are no JSON"),
        pytest.param(
            ["package docker-ce 27.5.1", "program /usr/bin/docker", "unit-LoadState loaded", "unit-ActiveState active"],
            "does not answer",
            id="runs elsewhere",
        ),
    ],
)
def test_an_engine_that_cannot_be_used_is_refused_with_what_to_do(lines, words):
    what = planned(lines)
    assert any(words in text for text in what.refusals), what.refusals
    outcome = run(docker.install, answers(lines))
    assert outcome.failed
    assert "apt-get" not in outcome.text()
    assert "base64" not in outcome.text()


def test_podman_beside_an_engine_is_nobodys_business():
    assert planned([*owners(), "package podman 4.3.1"]).refusals == ()


def test_containerd_alone_is_no_engine():
    what = planned(["package containerd.io 1.7", "root /var/lib/docker"])
    assert what.install
    assert what.refusals == ()


RUNNING = ("running no aaaaaaaaaaaa /nvr", "running always bbbbbbbbbbbb /web", "running  cccccccccccc /old")


def test_a_restart_that_ends_containers_is_refused_without_consent():
    lines = owners(live_restore=False, more=RUNNING)
    assert [one.name for one in ends(facts_of(lines))] == ["nvr", "old"]
    assert planned(lines).refusals == (), "a reload is no restart"
    refused = planned(lines, docker_mtu=1400).refusals
    assert len(refused) == 1
    for word in ("nvr (aaaaaaaaaaaa)", "old", "mtu", "--yes-to docker-restart"):
        assert word in refused[0]
    assert "web" not in refused[0]
    agreed = planned(lines, DOCKER_RESTART, docker_mtu=1400)
    assert agreed.refusals == ()
    assert any("containers that stop: nvr (for good), web, old (for good)" in text for text in agreed.will)
    assert planned(owners(live_restore=True, more=RUNNING), docker_mtu=1400).refusals == ()


def test_the_roles_own_restart_is_refused_too():
    ours = {"mtu": 1400, "insecure-registries": [SITE]}
    lines = owners(file=ours, known=record(ours), live_restore=False, more=RUNNING)
    late = {"UNIT=docker.service": unit_answer(started_s=1.0, configured_s=2.0)}
    outcome = run(docker.install, answers(lines, **late), data={"docker_mtu": 1400})
    assert outcome.failed
    assert "systemctl restart" not in outcome.text()
    agreed = run(docker.install, answers(lines, **late), data={"docker_mtu": 1400, "shoal_yes_to": [DOCKER_RESTART]})
    assert "systemctl restart docker.service" in agreed.text()


@pytest.mark.parametrize(
    ("lines", "keys", "outdated", "expected"),
    [
        (owners(active=False), [], False, "start"),
        (owners(), ["insecure-registries"], False, "reload"),
        (owners(), ["insecure-registries", "dns"], False, "restart"),
        (owners(), [], True, "nothing"),
        (look(), [], True, "restart"),
        (look(), [], False, "nothing"),
    ],
)
def test_action(lines, keys, outdated, expected):
    assert action(facts_of(lines), keys, outdated=outdated) == expected


def test_a_record_that_names_other_packages_does_not_make_the_engine_ours():
    lines = look(ours=("debootstrap", "wget"), known=record({}), more=("volume nvr",))
    assert not facts_of(lines).is_ours
    outcome = run(docker.remove, answers(lines, **{"for p in /var/lib/shoal/roles/docker.packages": ["there"]}))
    text = outcome.text()
    assert not outcome.failed
    assert "systemctl stop" not in text
    assert "find" not in text


def test_daemon_json_that_is_no_json_is_not_overwritten():
    outcome = run(docker.install, answers(look(file="{broken", known=record({}))))
    assert outcome.failed
    assert "base64 -d" not in outcome.text()


def test_without_systemd_nothing_is_started():
    data = {"docker_service": False, "docker_configure": False, "docker_record": False}
    outcome = run(docker.install, {"DAEMON_JSON=": look(engine=None, ours=())}, data=data)
    assert "START_SERVICES=no" in outcome.text()
    assert "systemctl" not in outcome.text()


def test_remove_puts_an_owners_settings_back_byte_for_byte():
    theirs = '{"debug":false,\n  "insecure-registries":[]}'
    there = merged(parse(theirs, ""), Ours(), {"insecure-registries": [SITE]})
    text = rendered(there)
    known = Ours(text=theirs).with_settings(
        parse(theirs, ""), {"insecure-registries": [SITE]}, hashlib.sha256(text.encode()).hexdigest()
    )
    outcome = run(docker.remove, answers(owners(file=text, known=known.rendered())))
    assert not outcome.failed
    assert f"CONTENT={encoded(theirs)}" in outcome.text().replace("'", "")
    assert "systemctl reload" in outcome.text()
    assert "purge" not in outcome.text()


def test_remove_keeps_what_the_owner_changed_since():
    known = record({"insecure-registries": [SITE], "mtu": 1400}, written="0" * 64, text="{}")
    outcome = run(docker.remove, answers(owners(file={"mtu": 9000, "insecure-registries": [SITE]}, known=known)))
    assert f"CONTENT={encoded({'mtu': 9000})}" in outcome.text().replace("'", "")


def test_remove_switches_an_engine_off_that_was_off_unless_it_is_used():
    known = record({}, unit_state="disabled", unit_active=False)
    text = run(docker.remove, answers(owners(known=known))).text()
    assert "systemctl disable --quiet docker.service" in text
    assert "systemctl stop docker.socket docker.service" in text
    used = run(docker.remove, answers(owners(known=known, more=RUNNING))).text()
    assert "systemctl stop" not in used


def test_remove_takes_an_engine_of_ours():
    lines = look(
        file=WANTED, known=record(WANTED), more=("data /var/lib/docker", "image sha256:1 x:y", "built sha256:1")
    )
    there = {"for p in /var/lib/shoal/roles/docker.packages": ["there"]}
    outcome = run(docker.remove, answers(lines, **there))
    text = outcome.text()
    assert not outcome.failed
    assert "rm -f /etc/docker/daemon.json" in text
    assert "DATA='/var/lib/docker /var/lib/containerd'" in text
    assert text.index("DATA=") < text.index("apt-get -q -y purge")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("container 0123456789abcdef /nvr", "container nvr"),
        ("volume nvr", "volume nvr"),
        ("disk-volume nvr", "volume nvr"),
        ("image sha256:2 owner/nvr:1", "image owner/nvr:1"),
    ],
)
def test_an_engine_of_ours_stays_with_what_others_put_into_it(line, word):
    lines = look(known=record({}), more=("image sha256:1 x:y", "built sha256:1", line))
    facts = facts_of(lines)
    assert stands_in_the_way(facts, read_record(facts.record)) == [word]
    outcome = run(docker.remove, answers(lines, **{"for p in /var/lib/shoal/roles/docker.packages": ["there"]}))
    assert not outcome.failed
    assert changed(outcome) == []


def test_what_lay_in_the_data_folder_before_us_stays_and_the_engine_goes():
    bare = look(
        engine=None,
        ours=(),
        more=("data /var/lib/docker", "disk-volume old", "disk-container 01", "disk-image sha256:9"),
    )
    before = first_record(facts_of(bare))
    assert before.data == ("/var/lib/docker",)
    later = ("data /var/lib/docker", "volume old", "disk-volume old", "container 01 /old", "image sha256:9 theirs:1")
    lines = look(known=before.rendered(), more=later)
    assert stands_in_the_way(facts_of(lines), before) == []
    text = run(docker.remove, answers(lines, **{"for p in /var/lib/shoal/roles/docker.packages": ["there"]})).text()
    assert "DATA=/var/lib/containerd\n" in text
    assert "KEPT=/var/lib/docker\n" in text


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
    machine = {
        "DAEMON_JSON=": look(engine=None, ours=()),
        "os-release": ["ID=debian", "VERSION_CODENAME=bookworm"],
        "dpkg --print-architecture": ["arm64"],
        "systemctl show": unit_answer(),
    }
    text = run(docker.install, machine, data=data).text()
    written = [base64.b64decode(part.split("\n")[0].strip("'")).decode() for part in text.split("CONTENT=")[1:]]
    source = next(content for content in written if content.startswith("Types: deb"))
    assert "Suites: bookworm\n" in source
    assert "Architectures: arm64\n" in source
    assert "Signed-By: /etc/apt/keyrings/shoal-docker-ce.asc\n" in source
    assert "WANTED='containerd.io docker-ce docker-ce-cli'" in text


def test_parse_tells_where_a_file_is_broken():
    assert parse("", "x") == {}
    with pytest.raises(ValueError, match="line 2"):
        parse('{\n"a" 1}', "x")
    with pytest.raises(ValueError, match="not a JSON object"):
        parse("[]", "x")
    assert json.loads(rendered({"b": 1, "a": 2})) == {"a": 2, "b": 1}
