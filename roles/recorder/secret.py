"""A camera's `user:password`: where it is looked for on the control machine. The message of a fault never holds it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from shoal.paths import state_dir

VARIABLE = "SHOAL_CAMERA_"
_SHAPE = re.compile(r"[^:\s\x00-\x1f]{1,128}:[^\r\n\x00]{0,256}")


class SecretFaultError(Exception):
    """A secret that is named and cannot be used."""


def path_of(cluster: str, name: str) -> Path:
    """The file that holds it, mode 0600."""
    return state_dir() / "secrets" / f"{cluster}.cameras" / name


def find(cluster: str, name: str) -> str:
    """The secret: the variable SHOAL_CAMERA_<NAME>, else the file. Raises SecretFaultError."""
    variable = VARIABLE + name.upper().replace("-", "_")
    value = os.environ.get(variable)
    path = path_of(cluster, name)
    if value is None:
        try:
            mode = path.stat().st_mode
            value = path.read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError):
            raise SecretFaultError(
                f"the secret {name!r} is not kept here: put `user:password` into {path} (mode 0600), or set {variable}"
            ) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SecretFaultError(f"{path} may be read by others: chmod 600 it")
    if not _SHAPE.fullmatch(value):
        raise SecretFaultError(f"the secret {name!r} is not one line `user:password`")
    return value
