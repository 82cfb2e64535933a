"""Run a registry's client and turn its failure into a message that says what cannot be had, and why."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from shoal.errors import Exit, Fault, ShoalError

TIMEOUT_S: Final = 1800
"""Longest a client may take; each has shorter limits on a silent connection."""
LAST_LINES: Final = 6
BUNDLE_HINT: Final = (
    "see that this machine reaches the registry, or put the file, named by its SHA-256, into a folder and name that "
    "folder in SHOAL_BUNDLE"
)
_CREDENTIALS = re.compile(r"//[^/\s@]+@")
_NOISE = re.compile(
    r"^npm (?:error|ERR!)(?:\s*[{}]?|\s+at .*|\s+\w+: ?(?:'.*'|-?\d+)?,?|.* complete log .*|.*\bprox(?:y|ies)\b.*)$"
)
"""npm closes with a stack, an object's fields, advice on proxies and the path of a log that goes with the download."""
_PIP_MISMATCH = re.compile(r"Expected sha256 ([0-9a-f]{64})\s+Got\s+([0-9a-f]{64})")


def run(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `command` in `folder`, which also takes its temporary files; both outputs come back as one text.

    Raises ShoalError where it takes longer than TIMEOUT_S or cannot be started.
    """
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**_plain_environment(), "TMPDIR": str(folder), "LC_ALL": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ShoalError(f"{command[0]} did not end within {TIMEOUT_S} s and was stopped") from None
    except FileNotFoundError:
        raise client_missing(command[0]) from None


def _plain_environment() -> dict[str, str]:
    """The environment with words and colours as they are read here, whatever a terminal or a CI asks for."""
    kept = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "CLICOLOR_FORCE"}}
    return {**kept, "NO_COLOR": "1"}


def client_missing(program: str, *, hint: str = BUNDLE_HINT) -> ShoalError:
    """The error for a program that is not there."""
    return ShoalError(f"the program {program!r} is needed and is not here", hint=hint, exit_code=Exit.MISSING)


def what_to_do(instead: str) -> str:
    """The hint where something cannot be had; `instead` is the catalogue's own advice, if any."""
    return f"{instead}; or {BUNDLE_HINT}" if instead else BUNDLE_HINT


def last_lines(output: str) -> list[str]:
    """The end of a client's output, without what says nothing and without a user's password in an address."""
    lines = [_CREDENTIALS.sub("//***@", line.strip()) for line in output.splitlines()]
    return [line for line in lines if line and not _NOISE.search(line)][-LAST_LINES:]


def unavailable(what: str, output: str, *, instead: str = "") -> ShoalError:
    """The error for a package that its registry's client could not bring, with the client's last lines."""
    if "No space left on device" in output or "ENOSPC" in output:
        return no_space(what)
    if mismatch := _PIP_MISMATCH.search(output):
        return wrong_hash(what, expected=mismatch[1], found=mismatch[2])
    lines = last_lines(output) or ["(it printed nothing)"]
    return ShoalError(
        f"{what} cannot be had",
        faults=tuple(Fault("client", line) for line in lines),
        hint=what_to_do(instead),
        exit_code=Exit.MISSING,
    )


def wrong_hash(what: str, *, expected: str, found: str) -> ShoalError:
    """The error for content that is not what the catalogue names; it was not placed."""
    return ShoalError(
        f"{what} has the wrong SHA-256 and was thrown away",
        faults=(Fault("expected", expected), Fault("found", found)),
        hint="a broken or changed download; try again, and if it stays so do not trust its source",
    )


def no_space(what: str) -> ShoalError:
    """The error for a full disk; whatever was half written is gone."""
    return ShoalError(
        f"no space left on the disk while {what} was brought; nothing half-done was kept",
        hint="free some space, or name a folder on a larger disk in SHOAL_CACHE",
    )
