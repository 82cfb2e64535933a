"""What every command prints with: progress and messages on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer
from rich.console import Console

from shoal.errors import ShoalError

out = Console(soft_wrap=True)
"""Results: tables and figures."""
err = Console(stderr=True, soft_wrap=True, highlight=False)
"""Progress and messages."""


def say(message: str) -> None:
    """One plain line of progress on stderr; the same on a terminal and in a log."""
    err.print(message, markup=False)


def report_error(error: ShoalError) -> None:
    """The error in full: message, every fault, what to do."""
    err.print(f"shoal: {error}", markup=False, style="red" if sys.stderr.isatty() else None)


def print_json(value: Any) -> None:
    """A document for scripts on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
