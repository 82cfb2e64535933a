"""What replacing a text file changes, for people to read before it is done: a unified diff without secrets."""

from __future__ import annotations

import difflib
import re

MOST_LINES = 60
"""Of one diff; a whole file is not read from a list of consequences."""
CONTEXT_LINES = 1
HIDDEN = "(hidden)"
_CREDENTIALS = re.compile(r"(://)[^/@\s]+@")
_SECRET = re.compile(
    r"""(?P<name>["']?[\w.-]*(?:passw|passphrase|secret|token|credential|auth|api[-_]?key|access[-_]?key|private[-_]?key)"""
    r"""[\w.-]*["']?\s*[:=]\s*)\S.*""",
    re.IGNORECASE,
)


def masked(line: str) -> str:
    """A line without what may be a secret: credentials in a URL, and the value behind a name that speaks of one.

    >>> masked('HTTP_PROXY=http://user:word@proxy:3128')
    'HTTP_PROXY=http://(hidden)@proxy:3128'
    >>> masked('  "auth-token": "abc",')
    '  "auth-token": (hidden)'
    """
    return _SECRET.sub(rf"\g<name>{HIDDEN}", _CREDENTIALS.sub(rf"\1{HIDDEN}@", line))


def unified(before: str, after: str) -> str:
    """The lines of a unified diff without its two heading lines; empty where nothing differs. Keys are never shown."""
    if "PRIVATE KEY" in before + after:
        return "(not shown: it holds a key)"
    # Masked first: a secret that changes is no line of the diff, and the file is named all the same.
    old, new = ([masked(line) for line in text.splitlines()] for text in (before, after))
    lines = list(difflib.unified_diff(old, new, lineterm="", n=CONTEXT_LINES))[2:]
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"... {len(lines) - MOST_LINES} more lines"]
    return "\n".join(lines)
