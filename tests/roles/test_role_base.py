"""Role `base` on a fresh and on a converged machine."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from pyinfra.context import host
from role_harness import changed, file_answer, run, unit_answer

from roles import base
from roles.base import APT_CONF, JOURNALD_CONF
from roles.base.facts import ClosedFolders
from roles.common import apt
from roles.common.knobs import RefusedError

APT = 'DPkg::Lock::Timeout "180";\n'
JOURNAL = "[Journal]\nSystemMaxUse=200M\nRuntimeMaxUse=200M\n"


def converged(**more):
    return {
        f"[ ! -f {APT_CONF} ]": file_answer(APT),
        "stat -c '%F|": [
            f"directory|{'700' if name == '/runs' else '755'} root root|/var/lib/shoal{name}"
            for name in ("", "/runs", "/weights", "/roles")
        ],
        "time-daemon": ["daemon systemd-timesyncd", "ours systemd-timesyncd"],
        "dpkg-query": [f"{name} installed" for name in ("ca-certificates", "curl", "python3", "systemd-timesyncd")],
        'echo "kernel': ["kernel gate-1", "file gate-1", "known yes"],
        "UNIT=systemd-timesyncd": unit_answer(),
        f"[ ! -f {JOURNALD_CONF} ]": file_answer(JOURNAL),
        "UNIT=systemd-journald": unit_answer(UnitFileState="static"),
        **more,
    }


def test_fresh_machine():
    outcome = run(
        base.install,
        {"systemctl show": unit_answer(ActiveState="inactive", UnitFileState="disabled"), 'echo "kernel': ["kernel x"]},
    )
    text = outcome.text()
    assert not outcome.failed
    # The lock's time-out comes before the first call of apt.
    assert text.index(APT_CONF) < text.index("apt-get")
    assert "WANTED='ca-certificates curl python3 systemd-timesyncd'" in text
    assert "WANTED=gate-1" in text
    assert "systemctl enable --quiet systemd-timesyncd.service" in text
    assert JOURNALD_CONF in text


def test_converged_machine_is_left_alone():
    assert changed(run(base.install, converged())) == []


def test_a_folder_that_an_earlier_deploys_umask_closed_is_opened():
    outcome = run(base.install, converged(**{"KNOWN='/usr/local/lib/shoal\n/etc/shoal'": ["/etc/shoal"]}))
    assert changed(outcome) == ["base | Open the folders that services read"]
    assert "chmod go+rx -- /etc/shoal" in outcome.commands


def test_which_folders_are_closed(tmp_path):
    """The look itself, on real folders."""
    records = tmp_path / "roles"
    for name in ("roles", "open", "closed", "own", "tree"):
        (tmp_path / name).mkdir(mode=0o700 if name in {"closed", "own", "tree"} else 0o755)
    (tmp_path / "link").symlink_to("closed")
    lines = [f"folder\t{tmp_path / name}" for name in ("open", "own", "link", "gone")]
    (records / "x.files").write_text("\n".join([*lines, f"tree\t{tmp_path / 'tree'}"]) + "\n")
    script = ClosedFolders().command((str(tmp_path / "closed"), str(tmp_path / "absent")), str(records))
    script = script.replace('"0 "', f'"{os.getuid()} "')
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(tmp_path / "closed"), str(tmp_path / "own")]


def test_clock_service_stays_idle_in_a_container():
    idle = unit_answer(ActiveState="inactive", Container="docker")
    assert changed(run(base.install, converged(**{"UNIT=systemd-timesyncd": idle}))) == []


def test_clock_service_is_started_on_a_machine():
    idle = unit_answer(ActiveState="inactive")
    outcome = run(base.install, converged(**{"UNIT=systemd-timesyncd": idle}))
    assert changed(outcome) == ["base | Keep the clock right"]


def test_restart_that_was_missed_is_made_up_for():
    # The file was written, the run cut off: nothing changes in this run, and the journal must still be restarted.
    late = unit_answer(started_s=1000.0, configured_s=1000.5, UnitFileState="static")
    outcome = run(base.install, converged(**{"UNIT=systemd-journald": late}))
    assert changed(outcome) == ["base | Run the journal with its limit"]
    assert "systemctl restart systemd-journald.service" in outcome.text()


def test_host_name_can_be_left_alone():
    answers = converged(**{'echo "kernel': ["kernel other"]})
    assert changed(run(base.install, answers, data={"base_hostname": False})) == []


def test_all_faulty_knobs_are_told_at_once():
    data = {"base_time": "sundial", "base_apt_lock_timeout_s": "soon", "base_hostnam": False}
    with pytest.raises(RefusedError) as caught:
        run(base.install, {}, data=data)
    assert {fault.where for fault in caught.value.faults} == {
        "gate-1: base_time",
        "gate-1: base_apt_lock_timeout_s",
        "gate-1: base_hostnam",
    }


@pytest.mark.parametrize(
    ("remove_runs", "gone"), [(False, False), (True, True)], ids=["results are kept", "results go when asked"]
)
def test_remove(remove_runs, gone):
    # Answered only where the runs' folder is among what goes with all it holds.
    runs = re.compile(r"LEFTOVERS='[^']*/var/lib/shoal/runs[\n']")
    answers = {
        runs: [
            "gone /var/lib/shoal/runs",
            "folder /var/lib/shoal/runs",
            "folder /var/lib/shoal",
            "in /var/lib/shoal/runs/r1/manifest.json",
        ],
        "cat /var/lib/shoal/roles/base.packages": ["curl"],
        "for p in /var/lib/shoal/roles/base.packages": ["there"],
    }
    text = run(lambda: base.remove(remove_runs=remove_runs), answers).text()
    assert ("rm -rf -- /var/lib/shoal/runs" in text) is gone
    assert not re.search(r"rmdir.* /var/lib/shoal/runs", text), "what is gone already is not removed once more"
    assert "NAMES=curl" in text


def test_what_others_put_into_our_folders_stays_and_is_named(capfd):
    answers = {"-mindepth 1": ["in /var/lib/shoal/own.txt", "folder /var/lib/shoal/weights", "folder /var/lib/shoal"]}
    outcome = run(base.remove, answers)
    assert "rmdir --ignore-fail-on-non-empty -- /var/lib/shoal/weights" in outcome.commands
    assert "rm -rf" not in outcome.text()


@pytest.mark.parametrize("daemon", ["chrony", "ntpsec", "openntpd", "systemd-timesyncd"])
def test_a_time_daemon_that_is_there_serves(daemon):
    outcome = run(base.install, converged(**{"time-daemon": [f"daemon {daemon}"], "systemctl show": unit_answer()}))
    assert changed(outcome) == []
    fresh = run(
        base.install,
        {"time-daemon": [f"daemon {daemon}"], "systemctl show": unit_answer(), 'echo "kernel': ["kernel x"]},
    )
    assert "WANTED='ca-certificates curl python3'" in fresh.text()
    assert "systemctl enable" not in fresh.text()


def test_what_apt_would_remove_is_a_refusal_with_names():
    simulation = ["Remv chrony [4.3]", "Inst systemd-timesyncd (252 Debian:12 [amd64])"]
    outcome = run(
        base.install, {"apt-get -s": simulation, "systemctl show": unit_answer(), 'echo "kernel': ["kernel x"]}
    )
    assert outcome.failed
    assert "--no-remove" not in outcome.text(), "nothing is installed"


def test_remove_on_a_bare_machine_does_nothing():
    assert changed(run(base.remove, {})) == []


def test_apt_is_asked_once_before_the_first_change_and_once_with_fresh_lists(monkeypatch):
    """A simulation takes a gateway seconds; what it says holds for the refusals, for --dry and for the record."""
    asked = []
    command = apt.Simulated.command
    monkeypatch.setattr(apt.Simulated, "command", lambda self, names: asked.append(names) or command(self, names))

    def looked_at_and_installed():
        assert base.machine_faults(host) == []
        base.install()

    outcome = run(
        looked_at_and_installed,
        {
            "apt-get -s": ["Inst curl (7.88 Debian:12 [amd64])", "Inst libcurl4 (7.88 Debian:12 [amd64])"],
            "systemctl show": unit_answer(),
            'echo "kernel': ["kernel x"],
        },
    )
    assert not outcome.failed
    assert len(asked) == 2
    assert len(set(asked)) == 1
    assert "NEW='curl libcurl4'" in outcome.text()
