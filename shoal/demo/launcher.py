"""What the launcher `./just` brought to this machine outside of the checkout, and taking it away again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shoal.lab import engine_setup
from shoal.paths import repository

FOLDERS = (".tools", ".venv", ".venv-dev", ".venv-stacks")


def folders() -> list[str]:
    """The ignored folders of the checkout that the launcher made."""
    return [str(path) for name in FOLDERS if (path := repository() / name).is_dir()]


def packages() -> tuple[str, ...]:
    """The distribution's packages that the launcher installed; it notes them before it begins."""
    note = _note()
    return tuple(sorted(set(note.read_text(encoding="utf-8").split()))) if note.is_file() else ()


def remove_packages(say: Callable[[str], None]) -> None:
    """Purge those packages. Raises ShoalError where others have come to need them, or apt refuses."""
    engine_setup.remove_packages(say, packages())
    _note().unlink(missing_ok=True)


def _note() -> Path:
    return repository() / ".tools" / "packages"
