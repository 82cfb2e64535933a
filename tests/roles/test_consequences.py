"""What a deploy says before its first change: packages, services, files with a diff, ports, containers; no secrets."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from role_harness import file_answer, run, unit_answer
from test_role_bacalhau import ELF
from test_role_docker import answers, look, owners, record

from roles import bacalhau, base, docker, registry
from roles.common.diff import MOST_LINES, masked, unified
from shoal.deploys.log import Log

GOOD_UNIT = unit_answer()


@pytest.fixture
def said(caplog):
    """The notes of a deploy over the fake connector, as a person gets them."""

    def of(deploy, responses, **more):
        caplog.clear()
        with caplog.at_level("INFO", logger="pyinfra"):
            run(deploy, responses, **more)
        log = Log(lambda line: None)
        for entry in caplog.messages:
            log.feed(entry)
        return [text for _, text in log.will]

    return of


def one(lines: list[str], begin: str) -> str:
    found = [line for line in lines if line.startswith(begin)]
    assert len(found) == 1, (begin, lines)
    return found[0]


def text(content: str) -> list[str]:
    return [base64.b64encode(content.encode()).decode()]


def test_a_bare_requester_says_packages_services_files_and_ports(said):
    simulation = ["Inst docker-registry (2.8.2 Debian:12/stable [amd64])"]
    lines = said(registry.install, {"apt-get -s": simulation, "systemctl show": unit_answer(
        LoadState="not-found", ActiveState="inactive", UnitFileState="")}, node="office")  # fmt: skip
    assert "install docker-registry 2.8.2" in lines
    assert "open TCP port 192.0.2.10:5000 for the network: the site's registry, read only, without TLS" in lines
    assert "open TCP port 127.0.0.1:5001 on this machine alone: the site's registry" in lines
    assert "start shoal-registry.service, now and at every boot" in lines
    assert "write /etc/shoal/registry.yml" in lines


def test_ports_that_are_open_already_are_not_said_again(said):
    there = {"ss -Hltnp 2>": [f"LISTEN 0 128 {at} *:*" for at in ("192.0.2.10:5000", "127.0.0.1:5001", "*:22")]}
    assert not [line for line in said(registry.install, there, node="office") if line.startswith("open ")]


def test_a_file_that_is_replaced_comes_with_its_diff_and_its_service_with_a_restart(said):
    before = "[Journal]\nSystemMaxUse=4G\n"
    responses = {
        "wc -c": text(before),
        "[ ! -f /etc/systemd/journald.conf.d/50-shoal.conf ]": file_answer(before),
        "UNIT=systemd-journald": GOOD_UNIT,
    }
    lines = said(base.install, responses, data={"base_journal_max": "500M"})
    diff = one(lines, "replace /etc/systemd/journald.conf.d/50-shoal.conf")
    assert diff.splitlines()[1:] == [
        "@@ -1,2 +1,3 @@",
        " [Journal]",
        "-SystemMaxUse=4G",
        "+SystemMaxUse=500M",
        "+RuntimeMaxUse=500M",
    ]
    # Not outdated yet: what makes it so is what this run is going to write.
    assert "restart systemd-journald.service" in lines


def test_a_file_that_not_everybody_may_read_is_named_and_not_shown(said):
    responses = {"[ ! -f /etc/apt/apt.conf.d/50shoal ]": file_answer("secret", mode="600")}
    lines = said(base.install, responses)
    assert one(lines, "replace /etc/apt/apt.conf.d/50shoal").endswith("(not shown: not everybody may read it)")


def test_an_owners_engine_says_its_diff_its_restart_and_who_stops(said):
    running = ("running no aaaaaaaaaaaa /nvr", "running always bbbbbbbbbbbb /web")
    file = {"registry-mirrors": ["https://user:geheim@mirror.plant"], "insecure-registries": ["10.1.1.1:5000"]}
    responses = answers(owners(file=file, known=record({}), live_restore=False, trusts="x", more=running))
    responses["wc -c"] = text(json.dumps(file, indent=2, sort_keys=True) + "\n")
    reload = said(docker.install, responses)
    diff = one(reload, "replace /etc/docker/daemon.json")
    assert '+    "192.0.2.10:5000"' in diff
    assert "docker.service reads its settings anew, without a restart" in reload
    assert "geheim" not in "".join(reload)
    restart = said(docker.install, responses, data={"docker_mtu": 1400, "shoal_yes_to": ["docker-restart"]})
    assert one(restart, "restart docker.service").endswith("; containers that stop: nvr (for good), web")


def test_what_only_its_owner_may_read_is_not_shown_of_an_engine_either(said):
    file = {"insecure-registries": ["10.1.1.1:5000"], "proxies": {"default": "http://u:geheim@proxy"}}
    lines = said(docker.install, answers(owners(file=file, known=record({}), trusts="x")))
    assert one(lines, "replace /etc/docker/daemon.json\n").endswith("(not shown: not everybody may read it)")
    assert any("insecure-registries" in line for line in lines), "what changes is said all the same"
    assert "geheim" not in "".join(lines)


def test_a_teardown_says_what_goes(said):
    lines = said(base.remove, {
        "cat /var/lib/shoal/roles/base.packages": ["curl", "python3"],
        "for p in /var/lib/shoal/roles/base.packages": ["/var/lib/shoal/roles/base.packages"],
        "RECORD=/var/lib/shoal/roles/base.files": [
            "version 3", "recorded", "file aa aa - /etc/a", "file bb bb 0123 /etc/b", "file cc dd - /etc/c",
        ],
    })  # fmt: skip
    assert "remove /etc/a" in lines
    assert "put /etc/b back as it was" in lines
    assert not any("/etc/c" in line for line in lines), "it was changed, and stays"
    assert "purge curl, python3" in lines
    engine = said(docker.remove, answers(look(known=record({}), more=("image sha256:1 a:1", "built sha256:1"))))
    assert "remove the engine (docker.io) with all that is in it: 1 images, none of them of others" in engine


def test_files_of_the_engine_that_hold_secrets_are_named_alone(said, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path))
    program = tmp_path / "bacalhau"
    program.write_bytes(ELF)
    entry = {"path": str(program), "sha256": hashlib.sha256(ELF).hexdigest(), "version": "1.9.3"}
    lines = said(bacalhau.install, {}, data={"bacalhau_programs": {"amd64": entry}})
    assert "write /etc/bacalhau/compute.yaml (not shown: only root may read it)" in lines
    assert "write /usr/local/lib/shoal/bacalhau (the engine's program, 0 MB)" in lines
    assert "open TCP port 127.0.0.1:1235 on this machine alone: the engine's compute service" in lines


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("Environment=HTTPS_PROXY=https://u:w@proxy:3128", "w@"),
        ('"auth": "dXNlcjp3b3Jk"', "dXNlcj"),
        ("TS_AUTHKEY=tskey-auth-1", "tskey"),
        ("password: hunter2", "hunter2"),
        ('  api_key = "abc"', "abc"),
    ],
)
def test_secrets_are_no_part_of_a_diff(line, hidden):
    assert hidden not in masked(line)
    assert hidden not in unified("x\n", f"x\n{line}\n")
    assert hidden not in unified(f"x\n{line}\n", "x\n")


def test_plain_settings_are_shown():
    for line in ("SystemMaxUse=500M", '"log-driver": "local",', "server ntp.plant.example iburst", "Keyring: /etc/x"):
        assert masked(line) == line


def test_a_diff_is_bounded_and_a_key_is_never_shown():
    shown = unified("", "".join(f"{number}\n" for number in range(1000))).splitlines()
    assert len(shown) == MOST_LINES + 1
    assert shown[-1].endswith("more lines")
    assert "MII" not in unified("", "-----BEGIN PRIVATE KEY-----\nMII\n")


def test_a_note_of_several_lines_and_with_backslashes_arrives_as_it_was():
    heard: list[str] = []
    log = Log(heard.append)
    log.feed("    [gate-1] will: replace /etc/x\\n+a \\\\n b")
    assert log.will == [("gate-1", "replace /etc/x\n+a \\n b")]
    assert heard == ["  gate-1: will: replace /etc/x"]
