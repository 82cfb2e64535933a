"""What a person is to know of a deploy beside its operations: what it will do to the machine, and what it left there.

Each is one line of pyinfra's log; shoal/deploys/log.py shows them, and `--dry` shows nothing else of the machine.
"""

from __future__ import annotations

from pyinfra.context import host

WILL = "will: "
LEFT = "left: "
CHANGING = "shoal_changing"
"""Host data of the run itself: the paths of files that it is going to write, so that a restart for their sake is known
before the first change."""


def will(text: str) -> None:
    """Say what an operation is going to do. Only while a deploy is prepared: before the first change, and with `--dry`.

    pyinfra asks an operation up to its first command, so this has to come before that. A text of several lines stays
    one line of the log.
    """
    if not host.state.is_executing:
        host.log(f"{WILL}{_one_line(text)}")


def left(text: str) -> None:
    """Say what a teardown did not take, and why."""
    if host.state.is_executing:
        host.log(f"{LEFT}{_one_line(text)}")


def changing(path: str) -> None:
    """Note that this run is going to write the file."""
    if not host.state.is_executing:
        setattr(host.data, CHANGING, (*(host.data.get(CHANGING) or ()), path))


def to_be_changed(paths: list[str]) -> bool:
    """Whether this run is going to write one of the files."""
    return not host.state.is_executing and not {*paths}.isdisjoint(host.data.get(CHANGING) or ())


def _one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
