"""onprem.toml with a machine more or less: the person's own lines and comments stay as they are.

The text is edited, then read again and compared with what it has to say. Where an edit would say anything else (a list
of machines written in another form), nothing is written and the lines to change are named.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoal.cluster import onprem
from shoal.cluster.document import Cluster
from shoal.errors import UsageError
from shoal.files import write_atomic

_ORDER = ("name", "roles", "address", "port", "user", "arch", "labels")
_MACHINE = re.compile(r"\s*\[\[\s*node\s*\]\]\s*(#.*)?$")
_PART_OF_MACHINE = re.compile(r"\s*\[\[?\s*node\s*\.")
_TABLE = re.compile(r"\s*\[")
_COMMENT_OR_BLANK = re.compile(r"\s*(#.*)?$")


def with_machine(path: Path, machine: dict[str, Any]) -> tuple[str, Cluster]:
    """The file's text with one more machine, and the cluster it then describes. Raises UsageError; writes nothing."""
    text, raw = _read(path)
    machine = {key: machine[key] for key in sorted(machine, key=_place) if machine[key] != {}}
    block = ["[[node]]", *onprem.assignments(machine)]
    gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
    wanted = {**raw, "node": [*raw["node"], machine]}
    hint = "write this at its end yourself:\n" + "\n".join(f"    {line}" for line in block)
    return _checked(path, f"{text}{gap}" + "\n".join(block) + "\n", wanted, hint)


def without_machines(path: Path, names: Sequence[str]) -> tuple[str, Cluster]:
    """The file's text without the machines of these names, and the cluster it then describes. Raises UsageError."""
    text, raw = _read(path)
    gone = [number for number, machine in enumerate(raw["node"]) if machine["name"] in names]
    wanted = {**raw, "node": [machine for machine in raw["node"] if machine["name"] not in names]}
    lines = text.splitlines(keepends=True)
    heads = [number for number, line in enumerate(lines) if _MACHINE.match(line)]
    if len(heads) == len(raw["node"]):
        for number in reversed(gone):
            _cut(lines, heads[number])
    hint = f"take the machines out of it yourself: {', '.join(names)}"
    return _checked(path, "".join(lines), wanted, hint)


def write(path: Path, text: str) -> None:
    """Replace the file in one step; who may read it stays as it is, and a link stays a link."""
    target = path.resolve()
    write_atomic(target, text, mode=target.stat().st_mode & 0o777)


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """The text, and what it says; valid, for nothing is built on a document with faults."""
    text, raw = onprem.read(path)
    onprem.parse(raw, source=path)
    return text, raw


def _place(key: str) -> int:
    """The order in which a person would write a machine's fields."""
    return _ORDER.index(key) if key in _ORDER else len(_ORDER)


def _cut(lines: list[str], head: int) -> None:
    """Take away the lines of the machine that begins at `head`. Comments after its last value are the next one's."""
    end = head + 1
    while end < len(lines) and (not _TABLE.match(lines[end]) or _PART_OF_MACHINE.match(lines[end])):
        end += 1
    while _COMMENT_OR_BLANK.match(lines[end - 1]):
        end -= 1
    del lines[head:end]
    # Not two gaps where one was.
    while head and head < len(lines) and not lines[head].strip() and not lines[head - 1].strip():
        del lines[head]
    while head == len(lines) and lines and not lines[-1].strip():
        del lines[-1]
        head -= 1


def _checked(path: Path, text: str, wanted: dict[str, Any], hint: str) -> tuple[str, Cluster]:
    # First what it is to say, so that a fault of the machine's is reported as one.
    cluster = onprem.parse(wanted, source=path)
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        found = {}
    if found != wanted:
        raise UsageError(f"{path} is written in a way that shoal does not edit; it was left as it is", hint=hint)
    return text, cluster
