"""Counts how often this process opens one file to read it: a document is read at a command's door, and travels then."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_counts: dict[str, int] = {}
"""By path; empty but for the blocks that count. An audit hook cannot be taken off again."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _counts:
        return
    path, _, flags = arguments
    if isinstance(path, str | os.PathLike) and not flags & (os.O_WRONLY | os.O_RDWR):
        name = os.fspath(path)
        if name in _counts:
            _counts[name] += 1


sys.addaudithook(_hook)


@contextmanager
def counted(path: Path) -> Iterator[list[int]]:
    """One number, written when the block ends: how often `path` was opened for reading."""
    found: list[int] = []
    _counts[str(path)] = 0
    try:
        yield found
    finally:
        found.append(_counts.pop(str(path)))
