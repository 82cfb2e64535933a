"""What login shells make of the line that ssh is given: the same in all of them, noise and all."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

from shoal.ssh import remote
from shoal.ssh.remote import Root

SCRIPT = """printf '%s|' "it's" 'a\\b' "!" "$HOME"
printf 'two\\nlines\\n'; echo late >&2"""
SHELLS = ("sh", "bash", "dash", "zsh", "tcsh", "csh", "fish")
# What sudo does with a password on its standard input, and what it does where it asks for none.
SUDO = """#!/bin/sh
[ "{asks}" = no ] || IFS= read -r password
printf '%s\\n' "$password" >>"$0.seen"
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("script", [SCRIPT, "echo 'plain' one", "printf %s 'x y' " + "z" * 40_000])
def test_every_login_shell_reads_it_alike(shell: str, script: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    wanted = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    line = remote.line(script)
    done = subprocess.run([shell, "-c", line.text], capture_output=True, check=True)
    assert remote.after_mark(done.stdout, line.mark) == wanted.stdout
    assert remote.after_mark(done.stderr, line.mark) == wanted.stderr


def test_what_a_start_up_file_prints_is_not_the_commands() -> None:
    line = remote.line("echo mine")
    done = subprocess.run(["sh", "-c", f"echo welcome; printf 'no end'; {line.text}"], capture_output=True, check=True)
    assert remote.after_mark(done.stdout, line.mark) == b"mine\n"
    assert remote.after_mark(b"This account is not available.\n", line.mark) is None


@pytest.mark.parametrize("asks", ["yes", "no"])
def test_a_password_reaches_sudo_alone(asks: str, tmp_path: Path) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text(SUDO.format(asks=asks))
    sudo.chmod(0o755)
    line = remote.line("cat; echo end", Root(password=SecretStr("geheim")))
    assert "geheim" not in line.text
    done = subprocess.run(
        ["sh", "-c", f"PATH={tmp_path}:$PATH; export PATH; {line.text}"],
        input=line.preamble + b"its own input\n",
        capture_output=True,
        check=True,
    )
    assert remote.after_mark(done.stdout, line.mark) == b"its own input\nend\n"
    assert Path(f"{sudo}.seen").read_text() == ("geheim\n" if asks == "yes" else "\n")


def test_sudo_gets_a_terminal_where_it_wants_one_and_the_command_keeps_its_pipes(tmp_path: Path) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text(
        '#!/bin/sh\n(: </dev/tty) 2>/dev/null || { echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1; }\n'
        'while [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'
    )
    sudo.chmod(0o755)
    for tty in (True, None):
        line = remote.line("cat; echo err >&2; exit 7", Root(tty=tty))
        done = subprocess.run(
            ["setsid", "-w", "sh", "-c", f"PATH={tmp_path}:$PATH; export PATH; {line.text}"],
            input=b"\x00\x04bin\r\n",
            capture_output=True,
            check=False,
        )
        assert done.returncode == 7, done.stderr
        assert remote.after_mark(done.stdout, line.mark) == b"\x00\x04bin\r\n"
        assert remote.after_mark(done.stderr, line.mark) == b"err\n"
    refused = remote.line("true", Root())
    done = subprocess.run(
        ["setsid", "-w", "sh", "-c", f"PATH={tmp_path}:$PATH; export PATH; {refused.text}"],
        capture_output=True,
        check=False,
    )
    assert remote.TTY_WANTED in done.stderr.decode()
