"""Durable writes: a temporary name, fsync, rename, fsync of the folder; and lines that are appended whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def sync(path: Path) -> None:
    """Make a file's content, or a folder's names, durable."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, document: Mapping[str, Any]) -> None:
    """The old document or the new one is there, whenever it is cut off."""
    write_lines(path, [document])


def write_lines(path: Path, documents: Iterable[Mapping[str, Any]]) -> None:
    """The old lines or the new ones are there, whenever it is cut off."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(document, sort_keys=True) + "\n" for document in documents)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):  # a full disk needs the room
            part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def read(path: Path) -> dict[str, Any]:
    """A document of `write`'s; an empty one where there is none."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return document


def append(path: Path, document: Mapping[str, Any]) -> None:
    """One more line, or where the disk does not take it none. What a power cut left of a line before is ended first."""
    with path.open("ab+", buffering=0) as stream:
        end = stream.seek(0, os.SEEK_END)
        broken = b""
        if end:
            stream.seek(end - 1)
            broken = b"" if stream.read(1) == b"\n" else b"\n"
        data = broken + json.dumps(document, sort_keys=True).encode() + b"\n"
        try:
            while data:
                data = data[stream.write(data) :]
            os.fsync(stream.fileno())
        except OSError:
            with suppress(OSError):  # a disk that takes nothing at all
                stream.truncate(end)
            raise


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file of `append`'s; what a power cut left of one is passed over."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for line in content.split(b"\n"):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document
