"""The roles' shell programs, run by sh here: files in a folder of the test's own, apt and accounts stood in."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roles.common.script import common, script
from shoal.paths import repository

PROGRAMS = sorted((repository() / "roles").rglob("files/*.sh"))


class Machine:
    """A folder that stands for a machine's root, and a PATH that begins with what is stood in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir()
        self.records = root / "records"
        # Only root may give files away.
        self.stand_in("chown", "exit 0")

    def stand_in(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def run(self, program: str, *, umask: int = 0o022, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", program],
            env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"},
            capture_output=True, text=True, check=check, umask=umask, timeout=60,
        )  # fmt: skip

    def place(self, path: Path, content: str, **more: int) -> None:
        encoded = base64.b64encode(content.encode()).decode()
        self.run(self.recording(common("place.sh", TARGET=str(path), MODE="644", CONTENT=encoded)), **more)

    def recording(self, program: str, since: int = 3) -> str:
        """A program behind the functions that keep the record."""
        return f"set -eu\n{common('record.sh', ROLE='base', RECORDS=str(self.records), SINCE=str(since))}\n{program}"

    def unplace(self) -> None:
        self.run(
            common("unplace.sh", RECORD=str(self.records / "base.files"), BEFORE=str(self.records / "base.before"))
        )

    def placed(self) -> list[str]:
        program = common("placed.sh", RECORD=str(self.records / "base.files"), RECORDS=str(self.records))
        return self.run(program).stdout.splitlines()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_every_program_is_shell(path):
    """`./just check` has a second look at them, with shellcheck."""
    done = subprocess.run(["sh", "-n", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_file_comes_and_goes_with_the_folders_made_for_it(machine):
    target = machine.root / "etc" / "conf.d" / "50shoal"
    (machine.root / "etc").mkdir()
    machine.place(target, "ours\n", umask=0o077)
    assert target.read_text() == "ours\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o755, "whatever the login's umask"
    machine.place(target, "ours, newer\n")
    assert len(machine.placed()) == 3
    machine.unplace()
    assert not target.parent.exists()
    assert (machine.root / "etc").is_dir()
    assert not (machine.records / "base.files").exists()


def test_what_was_there_comes_back_as_it_was(machine):
    target = machine.root / "conf"
    target.write_text("the owner's\n")
    target.chmod(0o640)
    os.utime(target, (1000, 1000))
    machine.place(target, "ours\n")
    machine.place(target, "ours, newer\n")
    machine.unplace()
    assert target.read_text() == "the owner's\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.stat().st_mtime == 1000


def test_links_and_trees_of_ours_go_and_a_link_that_points_elsewhere_stays(machine):
    ours, others, tree = machine.root / "bin2" / "tool", machine.root / "bin2" / "other", machine.root / "var" / "tool"
    recorded = f"record_link {ours} /opt/tool\nrecord_link {others} /opt/tool\nrecord_tree {tree}"
    machine.run(machine.recording(recorded))
    (machine.root / "bin2").mkdir()
    ours.symlink_to("/opt/tool")
    others.symlink_to("/opt/the-owners")
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "state").write_text("written by the service")
    machine.unplace()
    assert [path.name for path in (machine.root / "bin2").iterdir()] == ["other"]
    assert not (machine.root / "var").exists()


def test_a_file_of_a_deploy_before_the_role_kept_a_record_is_not_taken_for_the_owners(machine):
    machine.records.mkdir()
    (machine.records / "version").write_text("2\n")
    for name, since in (("late", 3), ("early", 2)):
        target, part = machine.root / name, machine.root / f"{name}.part"
        target.write_text("there before\n")
        part.write_text("ours\n")
        machine.run(machine.recording(f"record_file {target} {part}\nmv -f {part} {target}", since=since))
    machine.unplace()
    assert not (machine.root / "late").exists(), "an earlier version of ours"
    assert (machine.root / "early").read_text() == "there before\n"


def test_a_file_that_was_changed_since_stays_and_is_seen(machine):
    target = machine.root / "new" / "conf"
    machine.place(target, "ours\n")
    target.write_text("ours, and a line of the owner's\n")
    version, recorded_at_all, line = machine.placed()
    assert (version, recorded_at_all) == ("version 3", "recorded")
    _, recorded, now, before, path = line.split(" ")
    assert before == "-"
    assert recorded != now
    assert path == str(target)
    machine.unplace()
    assert target.read_text() == "ours, and a line of the owner's\n"


def test_an_owners_link_stays_a_link(machine):
    there = machine.root / "there"
    there.write_text("the owner's\n")
    link = machine.root / "link"
    link.symlink_to(there)
    machine.place(link, "ours\n")
    assert link.is_symlink()
    assert there.read_text() == "ours\n"
    machine.unplace()
    assert link.is_symlink()
    assert there.read_text() == "the owner's\n"


def test_a_file_that_an_earlier_version_wrote_is_not_taken_for_the_owners(machine):
    machine.records.mkdir()
    (machine.records / "base.packages").write_text("curl\n")
    target = machine.root / "50shoal"
    target.write_text("an earlier version's\n")
    machine.place(target, "ours\n")
    machine.unplace()
    assert not target.exists()


def test_the_engines_settings_keep_mode_and_link(machine):
    there = machine.root / "plant.json"
    there.write_text("{}")
    there.chmod(0o600)
    link = machine.root / "daemon.json"
    link.symlink_to(there)
    encoded = base64.b64encode(b'{"mtu": 1400}').decode()
    machine.run(script(repository() / "roles/docker/files/write_config.sh", TARGET=str(link), CONTENT=encoded))
    assert link.is_symlink()
    assert there.read_text() == '{"mtu": 1400}'
    assert stat.S_IMODE(there.stat().st_mode) == 0o600


def install(machine: Machine, **more: str) -> str:
    values = {
        "HOLD": str(machine.root / "hold"),
        "WANTED": "docker.io",
        "RECORD": str(machine.records / "docker.packages"),
        "BROUGHT": f"group docker\nuser docker-registry\npath {machine.root}/new\npath {machine.root}/bin",
        "START_SERVICES": "yes",
    }
    return common("apt_install.sh", **{**values, **more})


SIMULATION = "Inst libc6 [2.36-1] (2.36-2)\nInst docker.io (20.10)\nInst runc (1.1)"


def test_what_is_new_is_on_record_before_it_comes(machine):
    machine.stand_in("getent", 'case "$1 $2" in "group docker") exit 2;; *) exit 0;; esac')
    machine.stand_in("dpkg-query", 'case "$*" in *runc) echo config-files;; *) exit 1;; esac')
    # The record has to stand when the very first package is unpacked.
    machine.stand_in(
        "apt-get", f'case "$*" in *-s*) echo "{SIMULATION}";; *) cat {machine.records}/docker.packages; exit 7;; esac'
    )
    done = machine.run(install(machine), check=False)
    assert done.returncode == 7
    assert done.stdout.split() == ["docker.io", "runc"]
    brought = (machine.records / "docker.brought").read_text().splitlines()
    assert brought == ["group docker", f"path {machine.root}/new"]
    assert (machine.records / "docker.configured").read_text() == "runc\n"


def test_nothing_is_removed_whatever_changed_since_the_simulation(machine):
    machine.stand_in("getent", "exit 0")
    machine.stand_in("dpkg-query", "exit 1")
    machine.stand_in("apt-get", 'echo "$*"')
    assert "--no-remove" in machine.run(install(machine)).stdout.splitlines()[-1].split()


def purge(machine: Machine, names: str = "docker.io runc") -> str:
    return common(
        "apt_purge.sh", HOLD=str(machine.root / "hold"), NAMES=names,
        RECORD=str(machine.records / "docker.packages"), KEEP_NEEDED="no",
    )  # fmt: skip


@pytest.fixture
def installed(machine):
    machine.records.mkdir()
    (machine.records / "docker.packages").write_text("docker.io\nrunc\n")
    machine.stand_in("dpkg", "exit 0")
    machine.stand_in("dpkg-query", "echo installed")
    machine.stand_in("apt-get", f'case "$*" in *-s*) echo "Purg docker.io";; *) echo "$*" >>{machine.root}/done;; esac')
    return machine


def test_purge_takes_accounts_and_empty_folders_that_came_along_and_no_more(installed):
    empty, full = installed.root / "empty", installed.root / "full"
    empty.mkdir()
    full.mkdir()
    (full / "own").touch()
    (installed.records / "docker.brought").write_text(
        f"group docker\ngroup used\nuser docker-registry\npath {empty}\npath {full}\n"
    )
    installed.stand_in("getent", 'case $2 in used) echo "used:x:1:ops";; *) echo "$2:x:2:";; esac')
    for tool in ("userdel", "groupdel"):
        installed.stand_in(tool, f'echo "{tool} $1" >>{installed.root}/done')
    done = installed.run(purge(installed))
    assert (installed.root / "done").read_text().splitlines() == [
        "-q -y purge docker.io runc", "userdel docker-registry", "groupdel docker",
    ]  # fmt: skip
    assert "kept the group used" in done.stderr
    assert not empty.exists()
    assert full.exists()
    assert list(installed.records.iterdir()) == []


def test_settings_that_an_owner_kept_of_a_package_are_not_purged(installed):
    (installed.records / "docker.configured").write_text("runc\n")
    installed.run(purge(installed))
    assert (installed.root / "done").read_text().splitlines() == ["-q -y remove runc", "-q -y purge docker.io"]


def test_purge_refuses_to_take_others_along(installed):
    installed.stand_in("apt-get", 'case "$*" in *-s*) echo "Purg docker.io"; echo "Remv nvr [1]";; *) exit 9;; esac')
    done = installed.run(purge(installed), check=False)
    assert done.returncode == 1
    assert "other packages need them: nvr" in done.stderr
    assert (installed.records / "docker.packages").exists()


def settle(machine: Machine, act: str, wait_s: int = 20) -> str:
    return common(
        "settle.sh", HOLD=str(machine.root / "hold"), FOLDER=str(machine.root / "build"), WAIT_S=str(wait_s), ACT=act
    )


@pytest.fixture
def at_work(machine):
    """A program of an earlier deploy that outlived it, with a child, which holds a lock."""
    started = []

    def start(lock: Path, seconds: int) -> subprocess.Popen[bytes]:
        lock.parent.mkdir(exist_ok=True)
        ready = machine.root / "ready"
        process = subprocess.Popen(["sh", "-c", f"exec 9>>{lock}; flock 9; touch {ready}; sleep {seconds}; :"])
        started.append(process)
        end = time.monotonic() + 20
        while not ready.exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("flock"), reason="reads /proc and wants flock")
def test_a_build_that_outlived_its_deploy_is_ended_with_all_it_started(machine, at_work):
    assert machine.run(settle(machine, "no")).stdout == ""
    process = at_work(machine.root / "build" / "lock", 600)
    assert machine.run(settle(machine, "no")).stdout == "build\n"
    machine.run(settle(machine, "yes"))
    assert process.wait(timeout=10) != 0
    assert machine.run(settle(machine, "no")).stdout == ""


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("flock"), reason="reads /proc and wants flock")
def test_an_apt_at_work_is_waited_for_and_never_ended(machine, at_work):
    process = at_work(machine.root / "hold", 600)
    assert machine.run(settle(machine, "no")).stdout == "hold\n"
    done = machine.run(settle(machine, "yes", wait_s=1), check=False)
    assert done.returncode == 1
    assert "still installing packages" in done.stderr
    assert process.poll() is None
