"""What every command prints with: progress and messages on stderr, results on stdout.

Nothing that a node, a container or an engine wrote reaches the terminal as anything but text: see `shoal.terminal`.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer

from shoal import terminal
from shoal.errors import ShoalError
from shoal.terminal import PlainConsole

PIPE_COLUMNS = 200
"""A pipe or a log has no width; wide enough that no cell of a table is cut."""
LEAST_COLUMNS = 40
"""Below this, or where COLUMNS says nothing sensible, tables would come out empty."""


def _console(*, stderr: bool) -> PlainConsole:
    console = PlainConsole(stderr=stderr, soft_wrap=True, highlight=not stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_COLUMNS
    elif console.width < LEAST_COLUMNS:
        console.width = LEAST_COLUMNS
    return console


out = _console(stderr=False)
"""Results: tables and figures."""
err = _console(stderr=True)
"""Progress and messages."""


def open_streams() -> None:
    """Make standard input, output and error usable however the command was begun.

    A stream that was closed reads as empty and takes everything; a sign that the terminal's encoding lacks, or a file's
    name that is no text, is escaped instead of ending the command.
    """
    # They stay open as long as the process.
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def settle_streams() -> None:
    """Flush what is left; a stream that takes nothing is let go, or Python would end with a code of its own (120)."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # Whoever wrote to it has reported it already.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def say(message: str) -> None:
    """One plain line of progress on stderr; the same on a terminal and in a log."""
    err.print(message)


def report_error(error: ShoalError) -> None:
    """The error in full: message, every fault, what to do."""
    with suppress(OSError):  # without a terminal the exit code still says it
        err.print(f"shoal: {error}", style="red" if sys.stderr.isatty() else None)


def print_json(value: Any) -> None:
    """A document for scripts on stdout."""
    # JSON has escapes of its own for what the stream cannot take, and for what a terminal would obey.
    whole = codecs.lookup(getattr(sys.stdout, "encoding", None) or "ascii").name == "utf-8"
    text = json.dumps(value, indent=2, ensure_ascii=not whole)
    typer.echo(_OBEYED.sub(_json_escape, text))


def print_plain(text: str, *, end: str = "\n") -> None:
    """Lines that a program on a machine wrote, such as its journal, on stdout: as text, without its colours."""
    typer.echo(f"{terminal.plain(text)}{end}", nl=False)


_OBEYED = re.compile(r"[^\n -~]")


def _json_escape(match: re.Match[str]) -> str:
    if terminal.printable(match[0]) == match[0]:
        return match[0]
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))
