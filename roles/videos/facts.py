"""Facts of role `videos`."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyinfra.api.facts import FactBase

SCRIPT = (Path(__file__).parent / "state.py").read_text(encoding="utf-8")


@dataclass(frozen=True)
class FolderFact:
    """The videos folder of a node."""

    exists: bool = False
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name under the folder -> size in bytes, modification time in nanoseconds."""
    marker: str | None = None
    """Text of our marker file, None where there is none."""
    hashes: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the files that were asked for."""
    free_bytes: int = 0


class VideosState(FactBase[FolderFact]):
    """What is in the folder; sizes and times of all, and hashes of the named ones only."""

    def requires_command(self, *args: Any, **kwargs: Any) -> str:
        """Put there by role `base`."""
        del args, kwargs
        return "python3"

    def command(self, folder: str, marker: str, names: tuple[str, ...] = ()) -> str:
        """One small program, because names may hold anything but a slash."""
        return shlex.join(["python3", "-c", SCRIPT, folder, marker, *names])

    @staticmethod
    def default() -> FolderFact:
        """Nothing is there yet."""
        return FolderFact()

    def process(self, output: list[str]) -> FolderFact:
        """One line of JSON."""
        raw = json.loads(output[-1])
        return FolderFact(
            exists=raw["exists"],
            files={name: (size, mtime) for name, (size, mtime) in raw["files"].items()},
            marker=raw["marker"],
            hashes=raw["hashes"],
            free_bytes=raw["free_bytes"],
        )
