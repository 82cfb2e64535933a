"""What ssh is given to run, so that a command arrives whole whatever the login shell is, and as root where asked.

sshd hands its text to the user's login shell, which may be tcsh or fish, may print from its start-up files and may set
a umask of its own. So every command is given to `sh`, in a form that all shells read alike, and prints a mark before
it begins: what comes before the mark is the login shell's own.
"""

from __future__ import annotations

import base64
import re
import secrets
import shlex
from dataclasses import dataclass

from pydantic import SecretStr

TTY_WANTED = "you must have a tty to run sudo"
"""sudo's words where `requiretty` is set (sudoers(5))."""
PASSWORD_WANTED = ("a password is required", "interactive authentication is required", "a terminal is required")
"""sudo's and sudo-rs's words where they may not ask for one."""
PASSWORD_WRONG = ("incorrect password attempt", "Sorry, try again", "no password was provided", "Authentication failed")
# A line break ends the word in csh, `!` is its history, and fish reads a backslash within single quotes.
_UNPORTABLE = re.compile(r"[\n\r\\!]")


@dataclass(frozen=True, slots=True)
class Root:
    """How a command becomes root's (or another user's) on one machine."""

    password: SecretStr | None = None
    """Given to sudo on its standard input; None where it asks for none."""
    tty: bool | None = False
    """Whether sudo wants a terminal (`requiretty`): it gets one, and the command keeps its pipes. None: found out
    there, at the price of one more sudo."""
    user: str | None = None
    login: bool = False
    keep_environment: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A command as ssh is given it."""

    text: str
    """For the login shell."""
    mark: str
    """The line that the command prints on both streams before its own first one."""
    preamble: bytes = b""
    """What has to come first on its standard input; the command itself does not see it."""


def words(command: tuple[str, ...] | list[str]) -> str:
    """Words that arrive as they are, for any login shell; plain where they can be."""
    text = shlex.join(command)
    return for_any_shell(text) if _UNPORTABLE.search(text) else text


def for_any_shell(script: str) -> str:
    """A line that makes `sh` run `script`, written so that sh, bash, zsh, csh, tcsh and fish all read it alike."""
    if not _UNPORTABLE.search(script):
        return f"sh -c {shlex.quote(script)}"
    encoded = base64.b64encode(script.encode("utf-8", "surrogateescape")).decode("ascii")
    return f"sh -c 'eval \"$(echo {encoded} | base64 -d)\"'"


def line(script: str, root: Root | None = None) -> Line:
    """`script`, for sh, as ssh is given it; run as root's where `root` says how."""
    mark = f"shoal-{secrets.token_hex(8)}"
    begin = f"echo {mark}; echo {mark} >&2; "
    if root is None:
        return Line(for_any_shell(begin + script), mark)
    # Marked by the outer shell: sudo's own words come after it.
    return Line(for_any_shell(begin + _sudo(script, root, mark)), mark, _preamble(root, mark))


def _preamble(root: Root, mark: str) -> bytes:
    return f"{root.password.get_secret_value()}\n{mark}\n".encode() if root.password else b""


def _sudo(script: str, root: Root, mark: str) -> str:
    if root.password:
        # sudo reads the password byte by byte. Where it asks for none, the line is still there: skipped to the mark.
        script = f'while IFS= read -r line; do [ "$line" != {mark} ] || break; done; {script}'
    argv = ["sudo", *(["-S", "-p", ""] if root.password else ["-n"]), "-H"]
    argv += ["-i"] if root.login else []
    argv += ["-E"] if root.keep_environment else []
    argv += ["-u", root.user] if root.user else []
    command = f"exec {shlex.join([*argv, '--', 'sh', '-c', script])}"
    if root.tty is False:
        return command
    # script(1) makes a terminal for sudo to find; input and output stay what they are, by descriptors past the three.
    inner = f"exec <&3 >&4 2>&5 3<&- 4>&- 5>&-; {command}"
    on_tty = f"SHELL=/bin/sh exec script -qefc {shlex.quote(inner)} /dev/null 3<&0 4>&1 5>&2 </dev/null >/dev/null"
    if root.tty:
        return on_tty
    return f"case $(sudo -n true 2>&1 </dev/null) in *{shlex.quote(TTY_WANTED)}*) {on_tty} ;; esac; {command}"


def after_mark(output: bytes, mark: str) -> bytes | None:
    """What the command itself printed; None where it was never begun."""
    _, found, rest = output.partition(f"{mark}\n".encode())
    return rest if found else None
