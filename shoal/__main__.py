"""The `shoal` command, also as `python -m shoal`."""

from __future__ import annotations

import sys

from shoal.interrupts import INTERRUPTED, ending_at_once


def main() -> None:
    """Run the command. What it needs is loaded here: Ctrl-C in the first moments is as quiet as later."""
    try:
        with ending_at_once():
            from shoal.cli import main as command  # noqa: PLC0415 - see above

        command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
