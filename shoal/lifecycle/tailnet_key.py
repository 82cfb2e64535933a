"""Prints the tailnet key that an edge stack keeps as a secret: the roles ask for it only when a box has to join.

`python -m shoal.lifecycle.tailnet_key STACK`. So the key lies in clear nowhere: it stays in the stack's state.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from shoal.cloud import pulumi
from shoal.errors import ShoalError

OUTPUT = "tailscaleAuthKey"
"""Name of the key among the stack's secrets."""


def command(stack: str) -> list[str]:
    """The command line that prints the key of `stack`."""
    return [sys.executable, "-m", "shoal.lifecycle.tailnet_key", stack]


def main(arguments: Sequence[str]) -> int:
    """Print the key; 1 with a reason on stderr where there is none."""
    try:
        key = (pulumi.outputs(pulumi.find("edge", arguments[0]), secret=True).get("secrets") or {}).get(OUTPUT)
    except ShoalError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not key:
        sys.stderr.write(f"stack {arguments[0]!r} keeps no {OUTPUT}\n")
        return 1
    sys.stdout.write(f"{key}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
