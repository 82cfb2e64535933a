"""What a machine answered to the look: a stranger's word, so its size, its form and its characters are checked."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shoal import untrusted
from shoal.errors import ShoalError
from shoal.untrusted import Bounds

LIMIT_BYTES = 2 << 20
"""An answer is some 50 kB, with hundreds of containers and rules of a firewall at most 1 MB."""
TEXT_CHARS = 300_000
NOISE_CHARS = 300
BOUNDS = Bounds(size_bytes=LIMIT_BYTES, depth=3, text_chars=TEXT_CHARS)

_Key = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
_Text = Annotated[str, StringConstraints(max_length=TEXT_CHARS)]
_Texts = Annotated[dict[_Key, _Text], Field(max_length=80)]


class UnreadableError(ShoalError):
    """A machine's answer is not one; the message says why, without the machine's name."""


class Look(BaseModel):
    """One half of an answer, as it is sent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: _Texts


@dataclass(frozen=True, slots=True)
class Part:
    """The texts of one half of a look, and what was printed before it."""

    texts: dict[str, str]
    noise: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Both halves; `root` is None where the look did not become root, and `sudo` says why."""

    login: Part
    root: Part | None = None
    sudo: str = ""


def printable(text: str) -> str:
    """`text` without control and format characters (also those that turn the direction of text), but for line breaks
    and tabs."""
    return "".join(
        char for char in text if char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
    )


def line(text: str, limit: int = 120) -> str:
    """`text` in one line of at most `limit` characters, for a message."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= limit else f"{flat[: limit - 3]}..."


def read(raw: bytes, mark: str) -> Part:
    """The texts between two marks. Raises UnreadableError where there are none, or they are not of their form."""
    before, begin, rest = raw.decode(errors="replace").partition(f"{mark}{{")
    body, end, _ = rest.rpartition(f"}}{mark}")
    if not begin or not end:
        said = line(before, 160)
        raise UnreadableError(f"its shell did not run the look{f', it said: {said}' if said else ''}")
    try:
        wire = untrusted.document('{"texts":{' + body + "}}", Look, source="its answer", bounds=BOUNDS)
    except untrusted.DamagedDocumentError as error:
        faults = "; ".join(map(str, error.faults[:3]))
        raise UnreadableError(line(f"{error.message}{f' ({faults})' if faults else ''}", 300)) from None
    texts = {key: printable(text) for key, text in wire.texts.items()}
    return Part(texts, line(before, NOISE_CHARS))
