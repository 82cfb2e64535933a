"""The key a machine joins with: where it is looked for on the control machine, and how it travels."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from shoal.errors import Fault

VARIABLE = "SHOAL_TAILSCALE_AUTHKEY"
COMMAND_TIMEOUT_S = 60
_SHAPE = re.compile(r"[A-Za-z0-9_.:+/=?&-]{8,512}")
OAUTH_PREFIX = "tskey-client-"


class KeyFaultError(Exception):
    """A key that was given and cannot be used; the message never holds it."""


def find(node: str, *, file: Path | None, command: tuple[str, ...]) -> str | None:
    """The key for `node`: its own variable, the common one, the file, the command's output; None where none is given.

    `{node}` in the file's name and in the command's words stands for the node: one-use keys need one each.
    Raises KeyFaultError where a source is named and gives nothing usable.
    """
    own = f"{VARIABLE}_{re.sub('[^A-Z0-9]', '_', node.upper())}"
    for variable in (own, VARIABLE):
        if value := os.environ.get(variable):
            return _checked(value, variable)
    if file is not None:
        path = Path(str(file).replace("{node}", node)).expanduser()
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFaultError(f"tailscale_authkey_file {path} cannot be read: {_reason(error)}") from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyFaultError(f"tailscale_authkey_file {path} may be read by others: chmod 600 it")
        return _checked(text, str(path))
    if command:
        return _checked(_output([word.replace("{node}", node) for word in command]), "tailscale_authkey_command")
    return None


def dressed(key: str, *, ephemeral: bool, preauthorized: bool) -> str:
    """An OAuth client secret with the kind of key that is to be made of it, as far as it does not say so itself; any
    other key as it is. Left out, the client would make an ephemeral key that waits for approval.
    """
    if not is_oauth(key):
        return key
    secret, _, query = key.partition("?")
    attributes = dict(parse_qsl(query, keep_blank_values=True))
    wanted = {"ephemeral": str(ephemeral).lower(), "preauthorized": str(preauthorized).lower()}
    return f"{secret}?{urlencode({**wanted, **attributes}, safe=':/')}"


def is_oauth(key: str) -> bool:
    """Whether it is an OAuth client secret, of which the client makes a key for itself; it needs tags for that."""
    return key.startswith(OAUTH_PREFIX)


def source_faults(file: Path | None, command: tuple[str, ...]) -> list[Fault]:
    """What is wrong with where keys are looked for, before anything is changed."""
    found = []
    if file is not None and "{node}" not in str(file) and not file.expanduser().is_file():
        found.append(Fault("tailscale_authkey_file", f"there is no file {file}"))
    if file is not None and command:
        found.append(Fault("tailscale_authkey_command", "is given beside tailscale_authkey_file: one is enough"))
    return found


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KeyFaultError(f"tailscale_authkey_command: {command[0]}: {_reason(error)}") from None
    if done.returncode != 0:
        # Neither of its outputs is shown: half of a secret may be in them.
        raise KeyFaultError(f"tailscale_authkey_command: {command[0]} ended with exit code {done.returncode}")
    return done.stdout


def _checked(value: str, source: str) -> str:
    key = value.strip()
    if not _SHAPE.fullmatch(key):
        raise KeyFaultError(f"{source} holds no key: one word of letters, digits and dashes is wanted")
    return key


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it took too long" if isinstance(error, subprocess.TimeoutExpired) else "it is not text"
