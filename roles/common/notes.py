"""What a person is to know of a deploy beside its operations: what it will do to the machine, and what it left there.

Both are single lines of pyinfra's log; shoal/deploys/log.py shows them, and `--dry` shows nothing else of the machine.
"""

from __future__ import annotations

from pyinfra.context import host

WILL = "will: "
LEFT = "left: "


def will(text: str) -> None:
    """Say what an operation is going to do. Only while a deploy is prepared: before the first change, and with `--dry`.

    pyinfra asks an operation up to its first command, so this has to come before that.
    """
    if not host.state.is_executing:
        host.log(f"{WILL}{text}")


def left(text: str) -> None:
    """Say what a teardown did not take, and why."""
    if host.state.is_executing:
        host.log(f"{LEFT}{text}")
