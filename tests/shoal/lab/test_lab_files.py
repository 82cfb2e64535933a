"""The lab's folder: facts, ssh files, locks, mounts, names."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from shoal.errors import ShoalError
from shoal.lab import inherit, mounts, names, network, node_image, private_engine, ssh_files, state
from shoal.telling import stage

MACHINES = [
    ssh_files.Machine("requester", "10.213.0.10", "ssh-ed25519 AAAAkey1 root@requester"),
    ssh_files.Machine("compute-1", "10.213.0.11", "ssh-ed25519 AAAAkey2 root@compute-1"),
]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def facts() -> state.LabFacts:
    return state.LabFacts(
        "lab", "unix:///x", 2, "10.213.0.0/24", "10.213.0.1", "shoal-1", 1400, dns=("10.1.1.1",), cpus=1.5
    )


def test_facts_read_back_the_same() -> None:
    assert state.load_facts("lab") is None
    state.save_facts(facts())
    assert state.load_facts("lab") == facts()
    assert state.names() == ["lab"]


def test_damaged_facts_are_one_clear_error() -> None:
    state.folder("lab").mkdir(parents=True)
    (state.folder("lab") / "lab.json").write_text('{"name": "lab"')
    with pytest.raises(ShoalError, match="is damaged"):
        state.load_facts("lab")


def test_known_hosts_has_name_and_address_without_comment() -> None:
    assert ssh_files.known_hosts(MACHINES).splitlines() == [
        "requester,10.213.0.10 ssh-ed25519 AAAAkey1",
        "compute-1,10.213.0.11 ssh-ed25519 AAAAkey2",
    ]


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client")
@pytest.mark.parametrize("folder", ["plain", "with space", "50%off", 'a "quoted" one', "back\\slash"])
def test_openssh_understands_the_configuration(tmp_path: Path, folder: str) -> None:
    tmp_path = tmp_path / folder
    tmp_path.mkdir()
    config = tmp_path / "ssh config"
    config.write_text(ssh_files.ssh_config(MACHINES, tmp_path / "my key", tmp_path / "known", tmp_path / "cm"))
    done = subprocess.run(["ssh", "-F", config, "-G", "compute-1"], capture_output=True, text=True, check=True)
    settings = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert settings["controlpath"].startswith(str(tmp_path / "cm" / "cm-"))
    assert settings["hostname"] == "10.213.0.11"
    assert settings["user"] == "shoal"
    assert settings["stricthostkeychecking"] == "true"
    assert settings["identitiesonly"] == "yes"
    # -G shows files before their tokens are read: two percent signs are one.
    assert settings["identityfile"].replace("%%", "%") == str(tmp_path / "my key")
    assert settings["userknownhostsfile"].replace("%%", "%") == str(tmp_path / "known")
    assert settings["globalknownhostsfile"] == "/dev/null"
    assert settings["batchmode"] == "yes"


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH's client")
def test_the_key_is_made_once_and_is_private() -> None:
    public = ssh_files.ensure_key("lab")
    assert public.startswith("ssh-ed25519 ")
    assert stat.S_IMODE(ssh_files.key_path("lab").stat().st_mode) == 0o600
    assert ssh_files.ensure_key("lab") == public
    assert {path.name for path in state.folder("lab").iterdir()} == {"id_ed25519", "id_ed25519.pub"}


def test_control_sockets_fit_in_the_kernel_s_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in (tmp_path / "s", tmp_path / ("long" * 30)):
        monkeypatch.setenv("SHOAL_STATE", str(folder))
        socket = ssh_files.control_folder("lab") / ("cm-" + "0" * 40 + "." + "0" * 16)
        assert len(str(socket)) < ssh_files.SOCKET_PATH_MAX


def test_a_control_folder_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real)
    monkeypatch.setattr(ssh_files, "control_folder", lambda lab: link)
    with pytest.raises(ShoalError, match="somebody else"):
        ssh_files.write("lab", MACHINES)


def test_engine_sockets_fit_in_the_kernel_s_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOAL_STATE", "/s")
    assert private_engine.runtime_folder() == Path("/s/engine/run")
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / ("long" * 30)))
    assert len(str(private_engine.runtime_folder() / "docker.sock")) < 40


def test_a_pid_that_belongs_to_another_program_is_not_the_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(private_engine, "runtime_folder", lambda: tmp_path)
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert private_engine.pid() is None


def test_names_differ_between_labs_and_state_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = (names.bridge_name("a"), names.bridge_name("b"))
    labels = names.lab_labels("a")
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "other"))
    assert len({*first, names.bridge_name("a"), names.bridge_name("b")}) == 4
    assert names.lab_labels("a") != labels
    # The kernel's limit for interface names.
    assert len(first[0]) <= 15


def test_mounts_below_a_folder_deepest_first() -> None:
    text = (
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:5 / /data/x rw - tmpfs t rw\n"
        "3 2 0:6 / /data/x/with\\040space rw - proc p rw\n"
        "4 1 0:7 / /data/xy rw - tmpfs t rw\n"
    )
    assert mounts.parse_below(text, Path("/data/x")) == [Path("/data/x/with space"), Path("/data/x")]


def test_a_tree_is_removed_and_a_missing_one_is_fine(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    mounts.remove_tree(tmp_path / "a")
    mounts.remove_tree(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_inherited_files_keep_owner_and_mode() -> None:
    files = [inherit.Entry("/home/shoal/.ssh/authorized_keys", b"key\n", 0o600, 1000), inherit.Entry("/etc/x", b"")]
    with tarfile.open(fileobj=io.BytesIO(inherit.archive(files))) as tar:
        first, second = tar.getmembers()
        content = tar.extractfile(first)
        assert content is not None
        assert content.read() == b"key\n"
    assert (first.name, first.mode, first.uid, first.gid) == ("home/shoal/.ssh/authorized_keys", 0o600, 1000, 1000)
    assert (second.name, second.mode, second.uid) == ("etc/x", 0o644, 0)


def test_proxies_reach_logins_and_services() -> None:
    login, service = inherit.proxy_entries({"HTTPS_PROXY": "http://p.example:3128/a%20b", "no_proxy": "localhost"})
    assert 'https_proxy="http://p.example:3128/a%20b"' in login.content.decode()
    assert 'NO_PROXY="localhost"' in login.content.decode()
    # systemd reads % as the start of a specifier.
    assert "a%%20b" in service.content.decode()
    assert inherit.proxy_entries({}) == []
    assert (login.mode, service.mode) == (0o644, 0o600)
    assert [entry.mode for entry in inherit.proxy_entries({"http_proxy": "http://me:pw@p.example"})] == [0o600, 0o600]


def test_pip_looks_up_certificates_in_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\ncert = /somewhere/else.pem\nindex-url = https://pip.example/simple\n")
    (entry,) = inherit.pip_entries(tmp_path / "pip.conf")
    assert "index-url = https://pip.example/simple" in entry.content.decode()
    assert "/somewhere/else.pem" not in entry.content.decode() or not inherit.CA_BUNDLE.exists()


def test_sources_with_a_login_are_not_readable_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from shoal.lab import apt

    def source(uri: str) -> list[apt.Source]:
        return [apt.Source((uri,), ("bookworm",), ("main",))]

    for uri, mode in (("http://m.example/debian", 0o644), ("http://u:p@m.example/debian", 0o600)):
        monkeypatch.setattr(apt, "read_sources", lambda uri=uri: source(uri))
        assert inherit.apt_entries("bookworm")[0].mode == mode


def test_the_node_image_is_named_by_what_it_is_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    before = node_image.tag()
    assert node_image.tag() == before
    monkeypatch.setattr(node_image, "PACKAGES", (*node_image.PACKAGES, "htop"))
    assert node_image.tag() != before


def test_scripts_of_the_node_image_are_valid_shell() -> None:
    for name in ("lab-init", "build-node.sh"):
        subprocess.run(["sh", "-n", str(node_image.FILES / name)], check=True)


def test_a_stage_tells_its_time_and_a_failed_one_does_not() -> None:
    said: list[str] = []
    with stage(said.append, "building", "built"):
        pass
    with pytest.raises(ZeroDivisionError), stage(said.append, "failing", "failed"):
        raise ZeroDivisionError
    assert said[0] == "lab: building ..."
    assert said[1].startswith("lab: built in ")
    assert said[2:] == ["lab: failing ..."]


def test_candidates_hold_a_full_size_lab() -> None:
    from shoal.lab.spec import MAX_COMPUTE, LabSpec, check

    for candidate in network.CANDIDATES:
        check(LabSpec(compute=MAX_COMPUTE, subnet=candidate))
