"""Reads documents that somebody else wrote: a node, a container, an engine, a stack.

Size, depth, digits, counts and lengths are bounded before anything is made of a document. Whatever is wrong with one
ends in one kind of error, never in a traceback, and never in memory or time that the writer chose.
"""

from __future__ import annotations

import io
import json
import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from shoal.errors import Fault, ShoalError

ModelT = TypeVar("ModelT", bound=BaseModel)

LEAST_FIGURE = 1e-12
"""A fraction closer to zero than this measures nothing, and dividing by it gives no figure."""
FLOAT_CHARS = 64
FAULTS_SHOWN = 20
INPUT_CHARS = 80
_WHOLE = re.compile(r"[0-9]+")
_FIGURE = re.compile(r"[0-9]+(\.[0-9]+)?")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a document may be. The defaults fit an answer that describes one machine or one job."""

    size_bytes: int = 4 << 20
    depth: int = 32
    """Objects and lists inside one another."""
    marks: int = 200_000
    """Commas and opening brackets, which bound the number of values and with it the memory they take."""
    key_chars: int = 1024
    text_chars: int = 64 << 10
    digits: int = 15
    """Of a whole number; fractions are held to the same magnitude."""


ANSWER = Bounds()


class DamagedDocumentError(ShoalError):
    """A document is not what it should be: not JSON, beyond the bounds, or with fields that cannot be."""


class _FaultError(ValueError):
    """One thing that is wrong with a document."""


def json_value(raw: bytes | str, *, source: str, bounds: Bounds = ANSWER) -> Any:
    """What the JSON in `raw` stands for. Raises DamagedDocumentError; `source` names the document in its text."""
    try:
        return _value(raw, bounds)
    except _FaultError as fault:
        raise DamagedDocumentError(f"{source} cannot be read: {fault}") from None


def document(raw: bytes | str, kind: type[ModelT], *, source: str, bounds: Bounds = ANSWER) -> ModelT:
    """The JSON in `raw` as a `kind`. Raises DamagedDocumentError with its faults."""
    value = json_value(raw, source=source, bounds=bounds)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        what = _WORDS.sub(" ", kind.__name__).lower()
        raise DamagedDocumentError(f"{source} is not a valid {what}", faults=tuple(faults_of(error))) from None


def lines(raw: bytes, kind: type[ModelT], *, source: str, most: int, bounds: Bounds = ANSWER) -> Iterator[ModelT]:
    """The documents in `raw`, a line each, as they are asked for. Raises DamagedDocumentError, so past `most` lines."""
    for number, line in enumerate(io.BytesIO(raw), start=1):
        if number > most:
            raise DamagedDocumentError(f"{source} cannot be read: it has more than {most} lines")
        yield document(line.rstrip(b"\r\n"), kind, source=f"{source}, line {number}", bounds=bounds)


def read_bytes(path: Path, *, bounds: Bounds = ANSWER) -> bytes:
    """A file's content, of which no more than the bounds allow is brought into memory.

    Raises OSError as the file system gives it, and DamagedDocumentError where the file is larger or no plain file.
    """
    if path.exists() and not path.is_file():
        raise DamagedDocumentError(f"{path} is not a plain file")
    with path.open("rb") as stream:
        return read_stream(stream, source=str(path), bounds=bounds)


def read_stream(stream: IO[bytes], *, source: str, bounds: Bounds = ANSWER) -> bytes:
    """All of `stream`. Raises DamagedDocumentError where it holds more than the bounds allow."""
    raw = stream.read(bounds.size_bytes + 1)
    if len(raw) > bounds.size_bytes:
        raise DamagedDocumentError(f"{source} cannot be read: it is larger than {bounds.size_bytes} bytes")
    return raw


def read_file(path: Path, kind: type[ModelT], *, bounds: Bounds = ANSWER) -> ModelT:
    """The JSON document in a file. Raises OSError (also where there is no such file) and DamagedDocumentError."""
    return document(read_bytes(path, bounds=bounds), kind, source=str(path), bounds=bounds)


def whole(text: str, *, source: str, bounds: Bounds = ANSWER) -> int:
    """The whole number that a machine answered with. Raises DamagedDocumentError."""
    if not _WHOLE.fullmatch(text) or len(text) > bounds.digits:
        raise DamagedDocumentError(f"{source} is no whole number: {_cut(repr(text[:INPUT_CHARS]))}")
    return int(text)


def figure(text: str, *, source: str, bounds: Bounds = ANSWER) -> float:
    """The figure, not below zero, that a machine answered with. Raises DamagedDocumentError."""
    if not _FIGURE.fullmatch(text) or len(text) > bounds.digits:
        raise DamagedDocumentError(f"{source} is no figure: {_cut(repr(text[:INPUT_CHARS]))}")
    return float(text)


def faults_of(error: ValidationError) -> list[Fault]:
    """Pydantic's errors as faults: the field's path, and what is wrong in one short line each."""
    faults = []
    for entry in error.errors(include_url=False, include_context=False)[:FAULTS_SHOWN]:
        # Bounded like everything else: the input may be the whole document.
        found = "" if entry["type"] in ("missing", "value_error") else f" (found {_cut(reprlib.repr(entry['input']))})"
        path = field_path([part if isinstance(part, int) else _cut(part) for part in entry["loc"]])
        faults.append(Fault(path or "document", f"{_cut(entry['msg'], 200)}{found}"))
    if (more := error.error_count() - len(faults)) > 0:
        faults.append(Fault("document", f"{more} more faults"))
    return faults


def field_path(location: Sequence[int | str]) -> str:
    """A pydantic location as a person writes it: `("nodes", 1, "port")` is `nodes[1].port`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{part}" if path else part
    return path


def _value(raw: bytes | str, bounds: Bounds) -> Any:
    if isinstance(raw, str):
        try:
            raw = raw.encode()
        except UnicodeEncodeError:
            raise _FaultError("it is not text: it has halves of characters") from None
    if len(raw) > bounds.size_bytes:
        raise _FaultError(f"it is larger than {bounds.size_bytes} bytes")
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > bounds.marks:
        raise _FaultError(f"it has more than {bounds.marks} values")
    try:
        value = json.loads(
            raw.decode(),
            parse_int=lambda text: _whole(text, bounds),
            parse_float=lambda text: _fraction(text, bounds),
            parse_constant=_no_figure,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError as error:
        raise _FaultError(f"it is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise _FaultError(f"it is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise _FaultError(f"it is nested more than {bounds.depth} deep") from None
    _check(value, bounds)
    return value


def _whole(text: str, bounds: Bounds) -> int:
    if len(text.lstrip("-")) > bounds.digits:
        raise _FaultError(f"a number has more than {bounds.digits} digits")
    return int(text)


def _fraction(text: str, bounds: Bounds) -> float:
    if len(text) > FLOAT_CHARS:
        raise _FaultError(f"a number has more than {FLOAT_CHARS} characters")
    value = float(text)
    if not math.isfinite(value) or abs(value) >= 10.0**bounds.digits:
        raise _FaultError(f"{text} is not a figure: it is too large")
    if 0 < abs(value) < LEAST_FIGURE:
        raise _FaultError(f"{text} is not a figure: it is too small")
    return value


def _no_figure(text: str) -> Any:
    raise _FaultError(f"{text} is not a figure")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise _FaultError(f"the key {_cut(repr(twice))} comes twice")
    return value


def _check(value: Any, bounds: Bounds) -> None:
    """Depth, lengths and text of every part, without recursion."""
    level: list[Any] = [value]
    for _ in range(bounds.depth + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item, bounds.text_chars)
            elif isinstance(item, list):
                below += item
            elif isinstance(item, dict):
                for key in item:
                    _check_text(key, bounds.key_chars)
                below += item.values()
        if not below:
            return
        level = below
    raise _FaultError(f"it is nested more than {bounds.depth} deep")


def _check_text(text: str, most_chars: int) -> None:
    if len(text) > most_chars:
        raise _FaultError(f"a text has more than {most_chars} characters")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _FaultError(f"{_cut(ascii(text))} is not text: it has halves of characters") from None


def _cut(text: str, most_chars: int = INPUT_CHARS) -> str:
    return text if len(text) <= most_chars else text[: most_chars - 3] + "..."
