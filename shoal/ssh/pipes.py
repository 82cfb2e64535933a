"""The OpenSSH client's process: begun, fed, and read within bounds; a node may send without end."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from shoal.ssh.connect import environment, no_client

LINE_BYTES = 64 << 10
"""A longer line of a stream comes in pieces."""
WORDS_BYTES = 64 << 10
"""Of what ssh and the command say on standard error, the last so many bytes are kept."""


def begun(argv: Sequence[str], source: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """The client at work in its own session, its output not buffered. Raises ShoalError where there is no client."""
    try:
        return subprocess.Popen(
            argv,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment(),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise no_client() from None


@contextmanager
def source(preamble: bytes, stdin: bytes | IO[bytes] | None) -> Iterator[Any]:
    """What the process has as its standard input: a file as it is, or after `preamble`; bytes go through a pipe."""
    if stdin is None or isinstance(stdin, bytes):
        yield subprocess.PIPE if preamble or stdin else subprocess.DEVNULL
        return
    if not preamble:
        yield stdin
        return
    reading, writing = os.pipe()

    def pour() -> None:
        # The command may end before it has read all: then the rest is not wanted.
        with suppress(BrokenPipeError), open(writing, "wb") as pipe:  # noqa: PTH123  # a descriptor
            pipe.write(preamble)
            shutil.copyfileobj(stdin, pipe)

    threading.Thread(target=pour, daemon=True).start()
    try:
        yield reading
    finally:
        os.close(reading)


def exchange(
    process: subprocess.Popen[bytes], given: bytes | None, deadline: float, most_bytes: int
) -> tuple[bytes | None, bytes]:
    """Hand over `given` and take in what comes: standard output, None where it is too long, and standard error's end.

    As `subprocess.communicate` does it, which knows no bound. Raises TimeoutExpired at the deadline.
    """
    output, said = bytearray(), bytearray()
    left = memoryview(given or b"")
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            selector.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]  # pipes were asked for
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in selector.select(left_s):
                if key.fileobj is process.stdin:
                    left = _hand_over(key.fd, left)
                    if not left:
                        selector.unregister(key.fileobj)
                        process.stdin.close()
                elif not (chunk := os.read(key.fd, LINE_BYTES)):
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    output += chunk
                    if len(output) > most_bytes:
                        process.kill()
                        return None, bytes(said)
                else:
                    said = (said + chunk)[-WORDS_BYTES:]
    process.wait(max(deadline - time.monotonic(), 0.1))
    return bytes(output), bytes(said)


def _hand_over(handle: int, left: memoryview) -> memoryview:
    """Write what the pipe takes now; what is left. A command that reads no more gets no more."""
    try:
        return left[os.write(handle, left[:LINE_BYTES]) :] if left else left
    except BlockingIOError:
        return left
    except BrokenPipeError:
        return left[len(left) :]


def up_to_mark(stream: IO[bytes], mark: str) -> bytes:
    """What comes first on the stream, with the mark; the last of all there is where the mark never comes.

    The stream has no buffer, so that nothing of what follows is taken from it.
    """
    noise = b""
    end = f"{mark}\n".encode()
    while chunk := stream.readline(LINE_BYTES):
        noise = (noise + chunk)[-WORDS_BYTES:]
        if noise.endswith(end):
            break
    return noise


def keep_words(stream: IO[bytes], said: bytearray) -> None:
    """Read a stream to its end and close it; `said` holds the last of it."""
    with stream:
        while chunk := stream.read(LINE_BYTES):  # without a buffer: what there is
            said += chunk
            del said[:-WORDS_BYTES]
