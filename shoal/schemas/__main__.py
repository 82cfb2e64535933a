"""Writes the generated schemas, or with `--check` ends with 1 where a checked-in one is out of date."""

from __future__ import annotations

import sys

from shoal.files import FOR_ALL, write_atomic
from shoal.schemas import generated


def main(arguments: list[str]) -> int:
    """Exit code 0 where all are current (or were written), 1 where `--check` found one that is not."""
    stale = [path for path, text in generated().items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if "--check" in arguments:
            sys.stderr.write(f"{path.name} is out of date; run `./just schemas`\n")
        else:
            write_atomic(path, generated()[path], mode=FOR_ALL)
    return 1 if stale and "--check" in arguments else 0


sys.exit(main(sys.argv[1:]))
