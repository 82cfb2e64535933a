"""Files of JSON lines that grow for months: each line durable, and a line that a power cut tore is passed over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from shoal_detect.state import store
from shoal_detect.state.store import Document


def append(path: Path, document: Document) -> None:
    """One more line, durable; what a power cut left of a line before is ended first. Raises DetectorError(STATE)."""
    with store.state_errors("write", path):
        new = not path.exists()
        with path.open("ab+") as stream:
            if stream.tell():
                stream.seek(-1, 2)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")
            stream.write(store.to_json_line(document))
            stream.flush()
            store.sync_file(stream.fileno())
        if new:
            store.sync_folder(path.parent)


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
