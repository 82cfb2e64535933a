"""pyinfra's commands and files over OpenSSH: a stand-in for `ssh` runs here what a login shell would get."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host

Machine = Callable[..., Host]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A host whose `ssh` is a script; by default it does as sshd does."""

    def make(ssh: str = 'for line; do :; done; exec sh -c "$line"', *, connect: bool = True, **data: object) -> Host:
        program = tmp_path / "bin" / "ssh"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{ssh}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        inventory = Inventory(([("@openssh/c1", {"ssh_hostname": "10.0.0.1", "ssh_user": "root", **data})], {}))
        state = State(inventory, Config())
        if connect:
            connect_all(state)
        host = inventory.get_host("c1")
        assert isinstance(host, Host)
        return host

    return make


def test_a_machine_that_is_asked_several_things_at_once_answers_each(machine: Machine) -> None:
    host = machine()
    asked = [gevent.spawn(host.run_shell_command, f"sleep 0.{9 - n}; echo {n}; echo e{n} >&2") for n in range(8)]
    with gevent.Timeout(30):
        gevent.joinall(asked, raise_error=True)
    answers = [greenlet.value for greenlet in asked]
    assert [(ok, output.stdout, output.stderr) for ok, output in answers] == [(True, f"{n}", f"e{n}") for n in range(8)]


def test_a_command_that_took_too_long_leaves_nothing_to_the_next(machine: Machine) -> None:
    host = machine()
    with pytest.raises(TimeoutError, match="no end within 1 s"):
        host.run_shell_command("echo early; sleep 3; echo late", _timeout=1)
    assert host.run_shell_command("sleep 3; echo mine")[1].stdout == "mine"


def test_the_time_limit_holds_for_a_machine_that_takes_nothing_in(machine: Machine) -> None:
    host = machine()
    with pytest.raises(TimeoutError):
        host.run_shell_command("exec sleep 60", _stdin="x" * 5_000_000, _timeout=1)


def test_what_a_command_leaves_unread_is_no_command(machine: Machine, tmp_path: Path) -> None:
    host = machine()
    place = tmp_path / "made"
    ok, output = host.run_shell_command("head -n 1", _stdin=f"first\nmark nothing\ntouch {place}\nmark\n")
    assert (ok, output.stdout) == (True, "first")
    assert host.run_shell_command("echo next")[1].stdout == "next"
    assert not place.exists()


def test_a_script_arrives_as_it_is(machine: Machine) -> None:
    host = machine()
    script = "cat <<'END'\n  two  spaces\\\n\ttab and \\n and 'quotes' and \"more\"\nEND\nfalse; echo \"$?\""
    ok, output = host.run_shell_command(script)
    assert ok
    assert output.stdout == "  two  spaces\\\n\ttab and \\n and 'quotes' and \"more\"\n1"


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_exit_status_is_the_commands(machine: Machine, code: int) -> None:
    assert machine().run_shell_command(f"exit {code}", _success_exit_codes=[code])[0]
    assert machine().run_shell_command(f"exit {code}")[0] is (code == 0)


def test_files_go_there_and_back_whole(machine: Machine, tmp_path: Path) -> None:
    host = machine()
    content = os.urandom(1_000_000) + b"\nno line break at the end"
    assert host.put_file(io.BytesIO(content), str(tmp_path / "it's there"))
    assert (tmp_path / "it's there").read_bytes() == content
    back = io.BytesIO()
    assert host.get_file(str(tmp_path / "it's there"), back)
    assert back.getvalue() == content


def test_a_file_that_cannot_be_written_here_is_an_error(machine: Machine, tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, _content: object) -> int:
            raise OSError(28, "No space left on device")

    host = machine()
    (tmp_path / "there").write_bytes(b"content\n" * 1000)
    with gevent.Timeout(30), pytest.raises(OSError, match="No space left"):
        host.get_file(str(tmp_path / "there"), Full())
    assert host.run_shell_command("echo next")[1].stdout == "next"


def test_a_connection_that_is_lost_is_made_anew_for_the_next_command(machine: Machine) -> None:
    host = machine()
    with pytest.raises(OSError, match="the connection was lost"):
        host.run_shell_command("kill -9 $(cut -d' ' -f4 /proc/$PPID/stat)")
    assert host.run_shell_command("echo back")[1].stdout == "back"


def test_why_a_machine_is_not_reached_is_in_sshs_words(machine: Machine) -> None:
    host = machine("echo 'ssh: connect to host 10.0.0.1 port 22: Connection refused' >&2; exit 255", connect=False)
    with pytest.raises(ConnectError, match="the connection was refused"):
        host.connect(raise_exceptions=True)


@pytest.mark.parametrize("late", ["", "sleep 0.3; "])
@pytest.mark.parametrize(
    ("sudo", "words"),
    [
        ("sudo: a password is required", "ops may run sudo with a password only"),
        ("Sorry, user ops is not allowed to execute '/bin/sh' as root on gate.", "cannot become root: Sorry, user ops"),
    ],
)
def test_sudos_refusal_is_read_whenever_it_comes(
    machine: Machine, tmp_path: Path, sudo: str, words: str, late: str
) -> None:
    """Together with the marks of the login, so that it is there before the first command, or after it."""
    together = (
        'for line; do :; done; sh -c "$line" >"$0.out" 2>"$0.err" </dev/null; code=$?; '
        f'cat "$0.out"; cat "$0.err" >&2; {late}exit $code'
    )
    host = machine(together, connect=False, ssh_user="ops", _sudo=True)
    program = tmp_path / "bin" / "sudo"
    program.write_text(f'#!/bin/sh\necho "{sudo}" >&2\nexit 1\n')
    program.chmod(0o755)
    with gevent.Timeout(20), pytest.raises(ConnectError, match=words):
        host.connect(raise_exceptions=True)


def test_a_machine_without_a_deploy_lock_is_not_reached(machine: Machine) -> None:
    host = machine(connect=False)
    host.data.shoal_unreached = "no answer in time"
    with pytest.raises(ConnectError, match="no answer in time"):
        host.connect(raise_exceptions=True)
