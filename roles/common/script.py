"""The roles' shell programs: a file with its variables set in front, sent as one command and run by `sh`."""

from __future__ import annotations

import shlex
from pathlib import Path

FILES = Path(__file__).parent / "files"


def script(path: Path, **values: str) -> str:
    """The program's text after one assignment for each value."""
    settings = "\n".join(f"{key}={shlex.quote(value)}" for key, value in values.items())
    return f"{settings}\n{path.read_text(encoding='utf-8')}"


def common(name: str, **values: str) -> str:
    """One of the programs that several roles use."""
    return script(FILES / name, **values)
