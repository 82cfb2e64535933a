"""The roles' shell programs, run by sh here: files in a folder of the test's own, apt and accounts stood in."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roles.bacalhau.facts import FILES as BACALHAU
from roles.base.facts import Remains
from roles.common.facts import NewTrees, UnitState
from roles.common.script import common, script
from roles.firewall.facts import TableState
from roles.registry.facts import FILES as REGISTRY
from roles.tailscale.facts import FILES as TAILSCALE
from roles.videos.facts import CameraMounts
from roles.yolov5.facts import EngineImage, ImageRemains
from shoal.paths import repository

OURS = hashlib.sha256(b"ours").hexdigest()
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
        "NEW": "",
        "RECORD": str(machine.records / "docker.packages"),
        "BROUGHT": f"group docker\nuser docker-registry\npath {machine.root}/new\npath {machine.root}/bin",
        "START_SERVICES": "yes",
    }
    return common("apt_install.sh", **{**values, **more})


SIMULATION = "Inst libc6 [2.36-1] (2.36-2)\nInst docker.io (20.10)\nInst runc (1.1)"


def test_what_is_new_is_on_record_before_it_comes(machine):
    machine.stand_in("getent", 'case "$1 $2" in "group docker") exit 2;; *) exit 0;; esac')
    machine.stand_in("dpkg-query", "echo 'runc config-files amd64'; exit 1")
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


def test_apt_is_not_asked_again_and_what_has_come_meanwhile_is_not_ours(machine):
    machine.stand_in("getent", "exit 0")
    machine.stand_in("dpkg", "echo arm64")
    # Of libc6 the machine has the one of another architecture.
    machine.stand_in("dpkg-query", "printf 'runc installed arm64\\nlibc6 installed armhf\\ntini unknown \\n'; exit 1")
    machine.stand_in("apt-get", f'echo "$*" >>{machine.root}/asked')
    machine.run(install(machine, NEW="docker.io runc tini libc6"))
    assert (machine.records / "docker.packages").read_text().split() == ["docker.io", "libc6", "tini"]
    (asked,) = (machine.root / "asked").read_text().splitlines()
    assert "-s" not in asked.split()
    assert sorted(path.name for path in machine.records.iterdir()) == ["docker.brought", "docker.packages"]


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


def arrived(
    machine: Machine, content: str = "new", *, sha256: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """An uploaded file brought to its place; `proof` is what has to succeed before."""
    landed = machine.root / "incoming"
    landed.write_text(content)
    landed.chmod(0o644)
    values = {
        "LANDED": str(landed), "PART": str(machine.root / "place" / ".new.part"),
        "FINAL": str(machine.root / "place" / "a file"),
        "SHA256": sha256 or hashlib.sha256(content.encode()).hexdigest(),
        "OWNER": "root:root", "MODE": "640", "PROOF": "no", "REPLACES": "anything",
    }  # fmt: skip
    proof = more.pop("proof", ":")
    program = f"proved() {{ {proof}; }}\n{common('arrive.sh', **{**values, **more})}"
    done = machine.run(machine.recording(program), check=False)
    assert not landed.exists()
    assert not (machine.root / "place" / ".new.part").exists(), "nothing half done stays"
    return done


def test_an_upload_gets_its_place_mode_and_record(machine):
    final = machine.root / "place" / "a file"
    assert arrived(machine).returncode == 0
    assert final.read_text() == "new"
    assert stat.S_IMODE(final.stat().st_mode) == 0o640
    machine.unplace()
    assert not final.parent.exists()


def test_an_upload_with_another_hash_gets_no_place(machine):
    done = arrived(machine, sha256="0" * 64)
    assert done.returncode == 1
    assert "wrong hash after the upload of a file: wanted 000" in done.stderr
    assert not (machine.root / "place").exists()


def test_an_upload_is_proved_before_it_replaces_what_was_there(machine):
    final = machine.root / "place" / "a file"
    arrived(machine, "old")
    refused = arrived(machine, PROOF="yes", proof=f"grep -q new {final.parent}/.new.part && echo no >&2 && exit 7")
    assert (refused.returncode, refused.stderr, final.read_text()) == (7, "no\n", "old")
    assert arrived(machine, PROOF="yes", proof="true").returncode == 0
    assert final.read_text() == "new"


@pytest.mark.parametrize(
    ("there", "replaces", "fault"),
    [
        (None, "nothing", ""), ("theirs", "nothing", "has come to lie there"),
        ("ours", OURS, ""), ("theirs", OURS, "another file"),
    ],
)  # fmt: skip
def test_an_upload_replaces_only_the_file_that_is_expected(machine, there, replaces, fault):
    final = machine.root / "place" / "a file"
    if there:
        final.parent.mkdir()
        final.write_text(there)
    done = arrived(machine, REPLACES=replaces)
    assert (done.returncode != 0, fault in done.stderr) == (bool(fault), True)
    assert final.read_text() == (there if fault else "new")


def test_folders_that_are_new_and_not_on_record(machine):
    record = machine.root / "x.files"
    there, known, new = (machine.root / name for name in ("there", "known", "new"))
    there.mkdir()
    record.write_text(f"tree\t{known}\nfile\t{new}\t0\t0\t-\n")
    fact = NewTrees()
    command = fact.command(tuple(map(str, (there, known, new))), str(record))
    assert fact.process(machine.run(command).stdout.splitlines()) == [str(new)]
    assert fact.process(machine.run(fact.command((str(known),), "/nosuch")).stdout.splitlines()) == [str(known)]


@pytest.mark.parametrize("bus", [True, False], ids=["by D-Bus", "by systemctl"])
def test_a_unit_is_older_than_its_settings(machine, bus):
    settings = machine.root / "settings file"
    settings.touch()
    os.utime(settings, (2000, 2000))
    machine.stand_in("busctl", "echo 't 1500000000'" if bus else "exit 1")
    shown = "LoadState=loaded; echo ActiveState=active; echo UnitFileState=enabled; echo NeedDaemonReload=no"
    machine.stand_in("systemctl", f'case "$*" in *--value*) echo "@1500" ;; *) echo {shown} ;; esac')
    machine.stand_in("systemd-detect-virt", "echo none; exit 1")
    fact = UnitState()
    state = fact.process(machine.run(fact.command("a.service", (str(settings), "/nosuch"))).stdout.splitlines())
    assert (state.exists, state.active, state.enabled, state.in_container) == (True, True, True, False)
    assert (state.started_at_s, state.configured_at_s, state.outdated) == (1500.0, 2000.0, True)
    assert not fact.process(machine.run(fact.command("a.service")).stdout.splitlines()).outdated


def test_what_a_teardown_finds_in_our_folders(machine):
    ours, leftover = machine.root / "ours", machine.root / "ours" / "incoming"
    (leftover / "deep").mkdir(parents=True)
    (ours / "a file").touch()
    fact = Remains()
    command = fact.command((str(ours), str(machine.root / "gone")), (str(leftover), str(ours / "nothing")))
    found = fact.process(machine.run(command).stdout.splitlines())
    assert (found.gone, found.folders) == ((str(leftover),), (str(ours),))
    assert found.inside == {str(leftover / "deep"), str(ours / "a file")}


def test_the_packet_filters_state(machine):
    rules = machine.root / "rules"
    rules.write_text("x")
    machine.stand_in("nft", '[ "$*" = "list chain inet shoal_firewall set_1" ]')
    machine.stand_in("systemctl", "case $1 in is-enabled) echo enabled ;; *) echo inactive; exit 3 ;; esac")
    fact = TableState()
    for chain, there in (("set_1", True), ("set_2", False)):
        lines = machine.run(fact.command(chain, str(rules), "a.service", "a.timer")).stdout.splitlines()
        state = fact.process(lines)
        assert (state.in_kernel, state.at_boot, state.on_trial) == (there, True, False)
        assert state.sha256 == hashlib.sha256(b"x").hexdigest()


def test_the_image_on_the_requester(machine):
    record, builds = machine.root / "image.json", machine.root / "builds"
    record.write_text('{"context": "c"}')
    builds.write_text("c sha256:1\nd sha256:2\nc sha256:3\n")
    machine.stand_in(
        "docker",
        'case "$*" in *Id*base*) exit 1 ;; *Id*) echo sha256:image ;; *) echo o/x@sha256:0; echo r/x@sha256:9 ;; esac',
    )
    machine.stand_in("curl", "printf 'HTTP/1.1 200 OK\\r\\nDocker-Content-Digest: sha256:9\\r\\n'")
    fact = EngineImage()
    command = fact.command(
        record_path=str(record), builds=str(builds), context="c", tag="r/x:c", base_tag="base", repository="r/x",
        manifest_url="http://127.0.0.1/",
    )  # fmt: skip
    found = fact.process(machine.run(command).stdout.splitlines())
    assert found.record == {"context": "c"}
    assert (found.built_digest, found.pushed_digest, found.published_digest) == ("sha256:3", "sha256:9", "sha256:9")
    assert (found.local_id, found.base_id) == ("sha256:image", "")


def test_what_is_left_of_the_image(machine):
    machine.stand_in("docker", '[ "$1" = info ] || { echo "$@" >&2; echo b; echo a; echo b; }')
    fact = ImageRemains()
    command = fact.command((str(machine.root / "gone"), str(machine.root)), "x=y", ("*/x", "base"))
    done = machine.run(command)
    assert done.stderr == "images -q --filter label=x=y --filter reference=*/x --filter reference=base\n"
    found = fact.process(done.stdout.splitlines())
    assert (found.files, found.engine, found.images) == (True, True, ("a", "b"))
    machine.stand_in("docker", "exit 1")
    found = fact.process(machine.run(fact.command((str(machine.root / "gone"),), "x=y", ("x",))).stdout.splitlines())
    assert (found.files, found.engine, found.images) == (False, False, ())


def test_the_registry_stands_still_while_it_is_cleaned_and_starts_again_where_that_fails(machine):
    log = machine.root / "log"
    machine.stand_in("systemctl", f'echo "$@" >>{log}')
    machine.stand_in("docker-registry", f'echo "$1" >>{log}; exit 4')
    done = machine.run(script(REGISTRY / "garbage.sh", UNIT="r.service", CONFIG="/c.yml"), check=False)
    assert done.returncode == 4
    assert log.read_text().splitlines() == ["stop r.service", "garbage-collect", "start r.service"]


def test_an_answer_is_waited_for_with_a_deadline(machine):
    count = machine.root / "count"
    machine.stand_in(
        "curl", f'echo x >>{count}; [ "$(wc -l <{count})" -gt 2 ] || {{ echo "curl: refused" >&2; exit 7; }}'
    )
    machine.run(script(REGISTRY / "answers.sh", URL="http://x/", TIMEOUT_S="30"))
    machine.stand_in("curl", 'echo "curl: refused" >&2; exit 7')
    done = machine.run(script(REGISTRY / "answers.sh", URL="http://x/", TIMEOUT_S="0"), check=False)
    assert (done.returncode, done.stderr) == (1, "no answer within 0 s:\ncurl: refused\n")


@pytest.mark.parametrize(
    ("hears", "job", "restarted"), [(True, "", False), (False, "id", False), (False, "", True)],
    ids=["it has its orchestrator", "a job runs", "it waits"],
)  # fmt: skip
def test_a_service_that_waits_is_started_again_unless_a_job_runs(machine, hears, job, restarted):
    log = machine.root / "log"
    machine.stand_in("ss", "echo ESTAB" if hears else "true")
    machine.stand_in("sleep", "true")
    machine.stand_in("docker", f"echo {job}")
    machine.stand_in("systemctl", f'echo "$@" >>{log}')
    machine.run(script(BACALHAU / "heard.sh", PORT="1", UNIT="a.service", LABEL="x=y", WITHIN_S="2"))
    assert (log.read_text() if log.exists() else "") == ("restart a.service\n" if restarted else "")


def test_a_package_is_on_record_before_it_is_installed(machine):
    record = machine.root / "records" / "tailscale.packages"
    machine.stand_in(
        "apt-get",
        f'case "$*" in -s*) echo "Inst tailscale (1.2)"; echo "Inst old [1] (2)" ;; *update*) ;; '
        f'*) cat {record}; echo "$@" ;; esac',
    )
    machine.stand_in("apt-mark", 'echo "mark $*"')
    program = script(TAILSCALE / "package.sh", PACKAGE="tailscale", VERSION="1.2", RECORD=str(record))
    first, installed, held = machine.run(program).stdout.splitlines()
    assert (first, held) == ("tailscale", "mark hold tailscale")
    assert installed.endswith(
        "install --no-remove --no-install-recommends --allow-downgrades --allow-change-held-packages tailscale=1.2"
    )


def test_the_look_at_camera_folders_is_a_program(machine):
    from roles.videos.cameras import Camera

    source, target = machine.root / "source", machine.root / "target"
    source.mkdir()
    target.mkdir()
    (target / "x").touch()
    fact = CameraMounts()
    cameras = (Camera(str(source), str(target)), Camera(str(machine.root / "none"), str(machine.root / "place")))
    places = fact.process(machine.run(fact.command(cameras)).stdout.splitlines()).places
    assert (places[str(target)].source, places[str(target)].shows) == ("there", "files")
    assert (places[str(machine.root / "place")].source, places[str(machine.root / "place")].shows) == (
        "missing",
        "nothing",
    )
