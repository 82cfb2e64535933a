"""What `run_deploy` gives to pyinfra's process: the documents it has read, and what only memory may hold.

It goes through a pipe that the process inherits, read once: neither the list of processes, nor the environment, nor a
file shows the sudo password, and no document is read a second time.
"""

from __future__ import annotations

import getpass
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shoal.cluster.document import Cluster
from shoal.cluster.overlay import Overlay

VARIABLE = "SHOAL_HANDOVER_FD"


class Handover(BaseModel):
    """All that pyinfra's process gets beside its command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: Cluster | None = None
    """As it is reached now; None where this process was begun by a person and reads the document itself."""
    overlay: Overlay | None = None
    engine: dict[str, Any] | None = None
    """Host data of the engine that was chosen."""
    unreached: dict[str, str] = Field(default_factory=dict)
    """By host: why no deploy lock could be taken there; such a host is not deployed to."""
    sudo_password: str | None = None

    @property
    def password(self) -> SecretStr | None:
        """What sudo on the machines asks for."""
        return SecretStr(self.sudo_password) if self.sudo_password else None


@contextmanager
def given(value: Handover) -> Iterator[int]:
    """The descriptor that a child process reads `value` from; it has to inherit it, and `VARIABLE` has to name it."""
    reading, writing = os.pipe()
    # What was not set stays unset: a port that the document leaves out is the ssh configuration's.
    content = value.model_dump_json(exclude_unset=True).encode()

    def write() -> None:
        # Unread where the process ends before it comes to it.
        with suppress(BrokenPipeError), open(writing, "wb", buffering=0) as pipe:  # noqa: PTH123  # a descriptor
            left = memoryview(content)
            while left:
                left = left[pipe.write(left) :]

    # A pipe holds 64 KiB: a long document waits in a thread until it is read.
    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield reading
    finally:
        os.close(reading)
        thread.join()


@cache
def received() -> Handover:
    """What this process was given; an empty one where a person began it. Read once: the pipe is empty afterwards."""
    if (number := os.environ.pop(VARIABLE, None)) is None:
        return Handover()
    with open(int(number), "rb") as pipe:  # noqa: PTH123  # a descriptor
        return Handover.model_validate_json(pipe.read())


@cache
def sudo_password() -> SecretStr | None:
    """What sudo on the machines asks for: as given, else as the person at the terminal types it, asked once.

    None where there is no terminal to ask on.
    """
    if (given_one := received().password) is not None:
        return given_one
    if not (sys.stdin and sys.stdin.isatty()):
        return None
    return SecretStr(getpass.getpass("sudo password of the machines: "))
