"""Text that a terminal shows and does not obey: the one place where what others wrote is made harmless.

Names of videos, last words of containers, errors of nodes and answers of engines may hold escape sequences: they move
the cursor, rename the window, write the clipboard (OSC 52). Whatever goes to a terminal goes through here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that are obeyed and not shown: controls (C0 and C1), marks that turn the text around them, halves
of characters, line and paragraph separators."""
_JOINERS = "\u200c\u200d"
"""Joiners are a part of ordinary spelling in many scripts, and of many emoji."""
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
LAYOUT = "\n\t"
"""What lays out a text of several lines."""


def printable(text: str, *, keep: str = "") -> str:
    """`text` with every character spelled out that a terminal or page would obey and not show, but those in `keep`."""
    if text.isprintable():
        return text
    return "".join(_spelled(char) if _is_hidden(char) and char not in keep else char for char in text)


def plain(text: str) -> str:
    """Lines that a program wrote for a terminal, such as a journal: their colours dropped, the rest `printable`."""
    return printable(_COLOURS.sub("", text.replace("\r\n", "\n")), keep=LAYOUT)


class PlainStream:
    """A text stream on which nothing but colours and the ends of lines is obeyed; in all else it is the stream in it.

    For programs of others that print what machines say as it comes, such as pyinfra's command line.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As the stream's own. Raises TypeError for bytes, as it does."""
        if not isinstance(text, str):
            raise TypeError(f"a stream of text takes no {type(text).__name__}")
        at = 0
        for colour in _COLOURS.finditer(text):
            self._stream.write(printable(text[at : colour.start()], keep=LAYOUT) + colour[0])
            at = colour.end()
        self._stream.write(printable(text[at:], keep=LAYOUT))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """As the stream's own."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN and char not in _JOINERS


def _spelled(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


class PlainConsole(Console):
    """A console that prints text as text: nothing in it is markup, an emoji's name or a control sequence.

    Escapes that reach the terminal are rich's own, for colours and live tables.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich's, of the harmless form of `text`: widths are measured on it too."""
        return super().render_str(printable(text, keep=LAYOUT), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich's; every piece of text in it made harmless."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, keep=LAYOUT), segment.style)
