"""A disk that forgets: records what the outbox does to its files, and makes what a power cut may leave of it.

The model is a journaling file system at its worst that still keeps fsync's promises: what was written and not synced
is there, half there or not there; a name that was made, moved or removed and whose folder was not synced is as before
or as after, each by itself. What was synced is kept.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class _File:
    now: bytes = b""
    safe: bytes = b""


@dataclass(frozen=True)
class _Change:
    """Of names, all at once or not: `set` gives a file a name, `gone` takes one away, `folder` makes a folder."""

    steps: tuple[tuple[str, str, int], ...]
    folders: frozenset[str]


@dataclass
class Disk:
    """Stands in for `os` in `outbox.disk`; the real files change too."""

    before: Callable[[], None] = lambda: None
    """Called before each change; may raise to end the program there."""
    files: dict[int, _File] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    """As the running program sees them; -1 is a folder."""
    safe: dict[str, int] = field(default_factory=dict)
    pending: list[_Change] = field(default_factory=list)
    handles: dict[int, int | str] = field(default_factory=dict)
    count: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def take_over(self, root: Path) -> None:
        """What lies there now is safe."""
        for path in [root, *sorted(root.rglob("*"))]:
            number = -1 if path.is_dir() else self._new(path.read_bytes())
            self.names[str(path)] = self.safe[str(path)] = number

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        text = str(path)
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        if writes:
            self._step()
        handle = os.open(path, flags, mode)
        if not writes:
            self.handles[handle] = text
            return handle
        if text not in self.names:
            self._change(("set", text, self._new()))
        elif flags & os.O_TRUNC:
            self.files[self.names[text]].now = b""
        self.handles[handle] = self.names[text]
        return handle

    def write(self, handle: int, data: Any) -> int:
        self._step()
        done = os.write(handle, data)
        number = self.handles[handle]
        assert isinstance(number, int)
        self.files[number].now += bytes(data[:done])
        return done

    def fsync(self, handle: int) -> None:
        self._step()
        number = self.handles[handle]
        if isinstance(number, int):
            self.files[number].safe = self.files[number].now
            return
        kept = [change for change in self.pending if number not in change.folders]
        for change in self.pending:
            if number in change.folders:
                _apply(self.safe, change)
        self.pending = kept

    def replace(self, source: Any, target: Any) -> None:
        self._step()
        Path(source).replace(target)
        number = self.names[str(source)]
        self._change(("gone", str(source), 0), ("set", str(target), number))

    def unlink(self, path: Any) -> None:
        self._step()
        Path(path).unlink()
        self._change(("gone", str(path), 0))

    def mkdir(self, path: Any, mode: int = 0o777) -> None:
        self._step()
        Path(path).mkdir(mode)
        self._change(("folder", str(path), -1))

    def close(self, handle: int) -> None:
        self.handles.pop(handle, None)
        os.close(handle)

    def left_behind(self, dice: random.Random, root: Path, target: Path) -> None:
        """Write what the disk may hold after a cut now, as a new folder."""
        names = dict(self.safe)
        for change in self.pending:
            if dice.random() < 0.5:
                _apply(names, change)
        for path, number in sorted(names.items()):
            place = target / Path(path).relative_to(root)
            if number == -1:
                place.mkdir(parents=True, exist_ok=True)
        for path, number in names.items():
            place = target / Path(path).relative_to(root)
            if number != -1 and place.parent.is_dir():
                place.write_bytes(_what_stays(self.files[number], dice))

    def _step(self) -> None:
        self.before()
        self.count += 1

    def _new(self, data: bytes = b"") -> int:
        number = len(self.files) + 1
        self.files[number] = _File(data, data)
        return number

    def _change(self, *steps: tuple[str, str, int]) -> None:
        change = _Change(steps, frozenset(str(Path(path).parent) for _, path, _ in steps))
        _apply(self.names, change)
        self.pending.append(change)


def _apply(names: dict[str, int], change: _Change) -> None:
    for kind, path, number in change.steps:
        if kind == "gone":
            names.pop(path, None)
        else:
            names[path] = number


def _what_stays(file: _File, dice: random.Random) -> bytes:
    if file.now == file.safe:
        return file.now
    return dice.choice([file.safe, file.now, file.now[: dice.randrange(len(file.now) + 1)], bytes(len(file.now))])
