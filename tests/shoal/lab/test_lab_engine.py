"""Finding the engine, and telling its failures."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from shoal.errors import Exit, ShoalError
from shoal.lab import base_image, client, engine, engine_setup, private_engine, ssh_files
from shoal.lab.client import Engine
from shoal.lab.spec import LabSpec
from shoal.lab.up import up


@pytest.fixture(autouse=True)
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "DEFAULT_SOCKET", tmp_path / "docker.sock")


def silent(message: str) -> None:
    del message


def test_a_dead_docker_host_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ShoalError, match="does not answer: there is no socket") as refused:
        up(LabSpec(), say=silent)
    assert refused.value.exit_code is Exit.MISSING
    assert str(tmp_path) in refused.value.message
    assert not (tmp_path / "state" / "labs" / "lab").exists()


def test_a_socket_nobody_listens_on_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    with pytest.raises(ShoalError, match="connection refused"):
        engine.find(silent)


def test_an_engine_that_hangs_costs_seconds_not_minutes(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen()
        assert client.connect(f"unix://{tmp_path}/mute.sock", timeout_s=0.2) == "timed out"


@pytest.mark.parametrize("url", ["tcp://10.1.1.1:2375", "ssh://me@elsewhere"])
def test_an_engine_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", url)
    with pytest.raises(ShoalError, match="on this machine"):
        engine.find(silent)


def test_without_any_engine_none_is_found() -> None:
    assert engine.find(silent) is None


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="installs on Debian only")
def test_nothing_is_installed_without_anybody_s_consent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "stdin", (tmp_path / "nobody").open("w+"))
    said: list[str] = []
    with pytest.raises(ShoalError, match="no terminal on which to agree") as refused:
        up(LabSpec(), say=said.append)
    assert refused.value.exit_code is Exit.MISSING
    assert "--yes" in str(refused.value)
    assert "no container engine answers" in said[0]
    assert private_engine.load() is None


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="installs on Debian only")
def test_without_root_nothing_can_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ShoalError, match="needs root") as refused:
        engine_setup.bring(silent, yes=True)
    assert refused.value.exit_code is Exit.MISSING


def test_a_full_disk_is_told_as_such() -> None:
    with pytest.raises(ShoalError, match="making x failed: no space left") as told, client.plain_errors("making x"):
        raise APIError("500", explanation="write /var/lib/docker/tmp: no space left on device")
    assert "free some space" in str(told.value)


def test_other_failures_of_the_engine_keep_its_words() -> None:
    with pytest.raises(ShoalError, match="making x failed: Conflict"), client.plain_errors("making x"):
        raise APIError("409", explanation="Conflict. The name is taken.\n")


def test_without_ssh_the_lab_is_refused_early(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ShoalError, match="ssh and ssh-keygen not found"):
        ssh_files.require_programs()


@pytest.mark.parametrize(("answer", "agreed"), [("y", True), ("", True), ("n", False)])
def test_on_a_terminal_it_is_asked_before_anything_is_installed(
    monkeypatch: pytest.MonkeyPatch, answer: str, agreed: bool
) -> None:
    terminal, ours = os.openpty()
    os.write(terminal, f"{answer}\n".encode())
    installed: list[str] = []
    said: list[str] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine_setup.host, "os_release", lambda: {"ID": "debian"})
    monkeypatch.setattr(engine_setup, "missing_programs", lambda: [] if installed else ["dockerd"])
    monkeypatch.setattr(engine_setup, "_installed_packages", set)
    monkeypatch.setattr(engine_setup, "_run_deploy", lambda _, deploy, *__: installed.append(deploy))
    monkeypatch.setattr(private_engine, "start_locked", silent)
    with os.fdopen(ours, encoding="utf-8") as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        if agreed:
            engine_setup.bring(said.append, yes=False)
        else:
            with pytest.raises(ShoalError, match="not agreed; nothing was changed"):
                engine_setup.bring(said.append, yes=False)
    os.close(terminal)
    assert installed == ([engine_setup.INSTALL_DEPLOY] if agreed else [])
    assert "the distribution's packages will be installed" in said[0]
    assert (private_engine.load() is not None) is agreed


class _Registry:
    """As much of the engine's client as a pull needs."""

    def __init__(self) -> None:
        self.id = "sha256:1"
        self.images = self
        self.did: list[str] = []

    def list(self, name: str) -> list[object]:
        return []

    def pull(self, repository: str, version: str) -> _Registry:
        self.did.append(f"pull {repository}:{version}")
        return self

    def tag(self, repository: str, version: str) -> None:
        self.did.append(f"tag {repository}:{version}")

    def remove(self, name: str) -> None:
        self.did.append(f"forget {name}")


def test_where_a_registry_answers_the_base_is_pulled_and_not_bootstrapped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(base_image, "release", lambda: base_image.Release("debian", "bookworm"))
    asked: list[str] = []
    monkeypatch.setattr(base_image, "registry_answers", lambda url, image: bool(asked.append(image)) or True)
    client: Any = _Registry()
    assert base_image.ensure(Engine("unix:///x", client), silent, ("systemd",)) == "sha256:1"
    assert asked == ["debian:bookworm-slim"]
    tag = client.did[1].removeprefix("tag ")
    assert tag.startswith("shoal/base:bookworm-")
    # The public name was not there before and does not stay: purging the lab leaves no image behind.
    assert client.did == ["pull debian:bookworm-slim", f"tag {tag}", "forget debian:bookworm-slim"]


def test_a_registry_behind_an_engine_that_is_gone_does_not_answer() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert base_image.registry_answers(f"tcp://127.0.0.1:{closed.getsockname()[1]}", "debian:x") is False


def _fake(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'E: Failed getting release file'; exit 1", "Failed getting release file"),
        ("echo 'tar: x: Cannot write: No space left on device'; exit 1", "no space left on the disk"),
    ],
)
def test_a_failing_debootstrap_is_told_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, told: str
) -> None:
    # The namespaces around it need root; what is tried here is how its end is told.
    _fake(tmp_path / "bin", "setpriv", script)
    _fake(tmp_path / "bin", "debootstrap", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    sources = tmp_path / "apt"
    sources.mkdir()
    source = base_image.apt.Source(("http://m.example/debian",), ("bookworm",), ("main",))
    monkeypatch.setattr(base_image.apt, "read_sources", lambda: [source])
    with pytest.raises(ShoalError, match=told):
        base_image._bootstrap(
            silent, base_image.Release("debian", "bookworm"), ("systemd",), tmp_path / "cache" / "images" / "base-x.tar"
        )
    assert [path.name for path in (tmp_path / "cache" / "images").iterdir()] == ["base-x.log"]


def test_without_a_source_for_the_release_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake(tmp_path / "bin", "debootstrap", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(base_image.apt, "read_sources", lambda: [])
    with pytest.raises(ShoalError, match="no http, https or file source for bookworm"):
        base_image._bootstrap(silent, base_image.Release("debian", "bookworm"), (), tmp_path / "base-x.tar")


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="installs on Debian only")
def test_an_interrupted_installation_still_knows_what_was_there_before(monkeypatch: pytest.MonkeyPatch) -> None:
    # Really installing would change the machine that runs the tests: the deploy is stood in for, the record is real.
    installed = {"bash"}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine_setup, "_installed_packages", lambda: set(installed))
    monkeypatch.setattr(engine_setup, "missing_programs", lambda: ["dockerd"] if "docker.io" not in installed else [])
    monkeypatch.setattr(private_engine, "start_locked", silent)
    monkeypatch.setattr(engine_setup, "_needed_by_ours", lambda: {"docker.io", "containerd", "runc", "bash"})

    def killed(*_: object) -> None:
        installed.update({"docker.io", "containerd"})
        raise KeyboardInterrupt

    monkeypatch.setattr(engine_setup, "_run_deploy", killed)
    with pytest.raises(KeyboardInterrupt):
        engine_setup.bring(silent, yes=True)
    # Days later; meanwhile the machine's owner has installed something.
    installed.add("vim")
    monkeypatch.setattr(engine_setup, "_run_deploy", lambda *_: installed.add("runc"))
    engine_setup.bring(silent, yes=True)
    record = private_engine.load()
    assert record is not None
    assert record.installed_packages == ("containerd", "docker.io", "runc")
    assert engine_setup.PACKAGES_BEFORE not in record.host_before
    # The next `up` finds all programs there and adds nothing.
    engine_setup.bring(silent, yes=True)
    assert private_engine.load() == record


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="asks Debian's apt")
def test_what_a_package_needs_is_read_from_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_setup, "BROUGHT", ("bash",))
    needed = engine_setup._needed_by_ours()
    assert {"bash", "base-files", "libc6"} <= needed
    assert "apt" not in needed
    assert all(" " not in name for name in needed)


def test_a_damaged_record_of_the_engine_is_one_clear_error() -> None:
    for text in ("{", "[]", '{"url": 1}'):
        private_engine.folder().mkdir(parents=True, exist_ok=True)
        (private_engine.folder() / "engine.json").write_text(text)
        with pytest.raises(ShoalError, match="is damaged"):
            private_engine.load()


def test_removal_names_exactly_what_was_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"bash", "docker.io"}
    asked: list[dict[str, object]] = []

    def deploy(_: object, name: str, data: dict[str, object], __: int) -> None:
        assert name == engine_setup.REMOVE_DEPLOY
        asked.append(data)
        installed.discard("docker.io")

    monkeypatch.setattr(engine_setup, "_installed_packages", lambda: set(installed))
    monkeypatch.setattr(engine_setup, "_run_deploy", deploy)
    monkeypatch.setattr(engine_setup.firewall, "restore", lambda before, say: None)
    private_engine.save(private_engine.Record("unix:///x", private=True, installed_packages=("docker.io",)))
    engine_setup.remove(silent)
    assert asked == [{"docker_packages": ["docker.io"], "docker_record": False}]
    assert engine_setup.still_installed(("docker.io",)) == []
    assert private_engine.leftovers() == []


def test_deploys_of_the_engine_are_where_they_are_looked_for() -> None:
    for deploy in (engine_setup.INSTALL_DEPLOY, engine_setup.REMOVE_DEPLOY):
        assert (engine_setup.repository() / deploy).is_file()


def test_control_groups_of_a_killed_engine_go_with_their_children(tmp_path: Path) -> None:
    parent = private_engine.control_group_parent()
    for hierarchy in ("cpu", "unified"):
        (tmp_path / hierarchy / parent / "container" / "init.scope").mkdir(parents=True)
        (tmp_path / hierarchy / "docker" / "not-ours").mkdir(parents=True)
    (tmp_path / "cpuacct").symlink_to("cpu")
    private_engine.remove_control_groups(tmp_path)
    assert private_engine.control_groups(tmp_path) == []
    assert (tmp_path / "cpu" / "docker" / "not-ours").is_dir()


def test_a_control_group_in_use_is_named_and_kept(tmp_path: Path) -> None:
    busy = tmp_path / "cpu" / private_engine.control_group_parent() / "container"
    busy.mkdir(parents=True)
    (busy / "process").touch()  # what makes the kernel refuse is not to be had without root; the refusal is the same
    with pytest.raises(ShoalError, match="cannot be removed") as caught:
        private_engine.remove_control_groups(tmp_path)
    assert str(busy) in caught.value.message
    assert busy.is_dir()
