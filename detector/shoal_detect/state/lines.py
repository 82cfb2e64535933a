"""Files of JSON lines that grow for months: each line durable, and a line that a power cut tore is passed over.

Old lines are let go of by `shorten`, or they would grow for ever.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from shoal_detect.state import store
from shoal_detect.state.store import Document


def append(path: Path, document: Document) -> None:
    """One more line, durable; what a power cut left of a line before is ended first.

    Raises DetectorError(STATE), and then nothing of the line is there.
    """
    with store.state_errors("write", path):
        new = not path.exists()
        with path.open("ab+", buffering=0) as stream:
            end, data = stream.tell(), store.to_json_line(document)
            if end:
                stream.seek(-1, 2)
                if stream.read(1) != b"\n":
                    data = b"\n" + data
            try:
                while data:
                    data = data[stream.write(data) :]
                store.sync_file(stream.fileno())
            except OSError:
                with suppress(OSError):  # a disk that takes nothing at all
                    stream.truncate(end)
                raise
        if new:
            store.sync_folder(path.parent)


def shorten(path: Path, kept: Callable[[Document], bool]) -> None:
    """Let go of the lines that are not `kept`: the old file is there or the new one. Raises DetectorError(STATE)."""
    store.write_file(path, b"".join(store.to_json_line(line) for line in read(path) if kept(line)))


def read(path: Path) -> Iterator[Document]:
    """The whole lines of a file of `append`'s."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.split(b"\n"):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document
