"""One program sent to one machine over SSH, and what it printed, of a size and in a time that are bounded."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, cast

from shoal.check.answer import LIMIT_BYTES, UnreadableError, line
from shoal.cluster.document import Cluster, Node
from shoal.ssh import client as ssh
from shoal.ssh.failures import error_from

CHUNK_BYTES = 1 << 16
END_LIMIT_S = 10
"""What a command may still take after it has closed its output."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a machine printed, and when: seconds of this machine's clock."""

    output: bytes
    asked_at_s: float
    answered_at_s: float
    """When the first of it was here."""


def as_user(cluster: Cluster, node: Node, command: tuple[str, ...], stdin: bytes, *, timeout_s: float) -> Said:
    """Run `command` on the machine as the login user, with `stdin`; what the login shell prints before it comes too.

    Raises SshError where ssh fails, and UnreadableError where the command fails, the answer is too long or the time is
    over; the connection is closed then.
    """
    asked = time.time()
    argv = ssh.ssh_command(cluster, node, *command)
    with tempfile.TemporaryFile() as words, fed(stdin) as feed:
        process = subprocess.Popen(
            argv,
            stdin=feed.source,
            stdout=subprocess.PIPE,
            stderr=words,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
        with process:
            try:
                said, answered = _bounded(cast(IO[bytes], process.stdout), time.monotonic() + timeout_s, timeout_s)
                code = _end_of(process)
            except BaseException:
                process.kill()
                raise
        words.seek(0)
        stderr = words.read(CHUNK_BYTES).decode(errors="replace")
    if code == 255 or code < 0:
        raise error_from(node, stderr)
    if code != 0 and not said:
        raise UnreadableError(f"its shell did not run the look: {line(stderr, 160) or f'exit code {code}'}")
    return Said(said, asked, answered or time.time())


def as_root(cluster: Cluster, node: Node, command: tuple[str, ...], stdin: bytes, *, timeout_s: float) -> Said:
    """The same as root, through sudo where the login user is not. Raises RemoteError where sudo does not let it."""
    asked = time.time()
    with fed(stdin) as feed, ssh.piped(cluster, node, *command, root=True, stdin=feed.source) as output:
        said, answered = _bounded(output, time.monotonic() + timeout_s, timeout_s)
    return Said(said, asked, answered or time.time())


def _end_of(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(timeout=END_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise UnreadableError(f"its login did not end within {END_LIMIT_S} s of the answer") from None


def _bounded(output: IO[bytes], deadline: float, timeout_s: float) -> tuple[bytes, float | None]:
    parts: list[bytes] = []
    size, first = 0, None
    while True:
        ready, _, _ = select.select([output], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise UnreadableError(f"it was not done within {timeout_s:.0f} s")
        chunk = os.read(output.fileno(), CHUNK_BYTES)
        if not chunk:
            return b"".join(parts), first
        first = first or time.time()
        parts.append(chunk)
        size += len(chunk)
        if size > LIMIT_BYTES:
            raise UnreadableError(f"it answered with more than {LIMIT_BYTES >> 20} MiB")


@dataclass(frozen=True, slots=True)
class Feed:
    """A pipe that a program reads, and what lets it come to its end."""

    source: IO[bytes]
    end: threading.Event


@contextmanager
def fed(data: bytes, *, hold_open: bool = False) -> Iterator[Feed]:
    """A pipe with `data` in it, written by a thread: nothing of it lies on a disk.

    With `hold_open` its end comes when `end` is set, or the block is left.
    """
    read_end, write_end = os.pipe()
    end = threading.Event()
    if not hold_open:
        end.set()

    def feed() -> None:
        # Who reads may go away before it is through; its end shows what became of it.
        with suppress(BrokenPipeError), os.fdopen(write_end, "wb") as sink:
            sink.write(data)
            sink.flush()
            end.wait()

    thread = threading.Thread(target=feed, daemon=True)
    try:
        with os.fdopen(read_end, "rb") as source:
            thread.start()
            yield Feed(source, end)
    finally:
        end.set()
        thread.join()
