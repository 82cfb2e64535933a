"""Commands on nodes through the OpenSSH client, every way to fail distinguished. How it is called: `connect`."""

from __future__ import annotations

import io
import queue
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import IO, TypeVar

from shoal.cluster.document import Cluster, Node
from shoal.errors import ShoalError, UsageError
from shoal.ssh import remote
from shoal.ssh.connect import check_access, close, connect_timeout_s, connection
from shoal.ssh.failures import RemoteError, SshError, SshFailure, TooLongError, error_from, not_begun
from shoal.ssh.pipes import LINE_BYTES, begun, exchange, keep_words, source, up_to_mark
from shoal.ssh.remote import Line, Root

__all__ = [
    "Completed",
    "RemoteError",
    "SshError",
    "SshFailure",
    "TooLongError",
    "check_access",
    "close",
    "connect_timeout_s",
    "connection",
    "on_each",
    "piped",
    "run",
    "ssh_command",
    "stream",
]

T = TypeVar("T")

ANSWER_BYTES = 16 << 20
"""The most of a command's output that is kept in memory; a node may send without end."""
NOISE_BYTES = 64 << 10
"""Of what a login shell prints before the command begins, so many bytes are borne."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command on a node gave back."""

    exit_code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output as text, without the last line break."""
        return self.stdout.decode(errors="replace").rstrip("\n")


def ssh_command(cluster: Cluster, node: Node, *command: str, root: bool = False) -> list[str]:
    """The argument list that runs `command` on `node`; without a command, an interactive shell.

    Every word of `command` arrives on the node as it is: nothing is left to the remote shell. Where a shell is wanted,
    say so: `"sh", "-c", script, "name", argument`. `root` puts `sudo -n` in front where the login user is not root.
    Raises UsageError where a file that the cluster document names for ssh is not there.
    """
    words = ("sudo", "-n", "--", *command) if root and node.user != "root" and command else command
    argv = connection(cluster.ssh, node)
    return [*argv, remote.words(words)] if words else argv


def run(
    cluster: Cluster,
    node: Node,
    *command: str,
    root: bool = False,
    stdin: bytes | IO[bytes] | None = None,
    timeout_s: float = 60,
    check: bool = True,
    most_bytes: int = ANSWER_BYTES,
) -> Completed:
    """Run `command` on `node` and wait for its end.

    Raises SshError where ssh fails or the time is over, TooLongError where the answer is longer than `most_bytes`,
    RemoteError where the command fails and `check` is set.
    """
    rights = _rights(cluster, node) if root else None
    call = _Call(cluster, node, command, stdin, timeout_s, most_bytes)
    code, out, err, line = _ended(call, rights)
    if rights and code != 0 and remote.TTY_WANTED in err.decode(errors="replace"):
        # Refused before the command was begun: nothing is done twice.
        if stdin is not None and not isinstance(stdin, bytes):
            stdin.seek(0)
        code, out, err, line = _ended(call, replace(rights, tty=True))
    stdout, words = _sorted_out(call, line, code, out, err)
    if check and code != 0:
        raise RemoteError(node, command, code, words)
    return Completed(code, stdout, words)


@dataclass(frozen=True, slots=True)
class _Call:
    """One command on one node."""

    cluster: Cluster
    node: Node
    command: Sequence[str]
    stdin: bytes | IO[bytes] | None = None
    timeout_s: float = 0
    most_bytes: int = ANSWER_BYTES


def _rights(cluster: Cluster, node: Node) -> Root | None:
    return None if node.user == "root" else Root(password=cluster.sudo_password)


def _ended(call: _Call, rights: Root | None) -> tuple[int, bytes, bytes, Line]:
    """Exit status, both streams, and the line that ssh was given. Raises SshError where the time is over."""
    line = _line(call.command, rights)
    argv = [*connection(call.cluster.ssh, call.node), line.text]
    given = line.preamble + (call.stdin if isinstance(call.stdin, bytes) else b"")
    with source(line.preamble, call.stdin) as given_in:
        process = begun(argv, given_in)
        with process:
            try:
                stdout, said = exchange(
                    process, given, time.monotonic() + call.timeout_s, call.most_bytes + NOISE_BYTES
                )
            except subprocess.TimeoutExpired:
                process.kill()
                what = f"`{call.command[0]}` was still running after {call.timeout_s:.0f} s"
                raise SshError(call.node, SshFailure.TIMED_OUT, what) from None
            except BaseException:
                with suppress(ProcessLookupError):
                    process.kill()
                raise
    if stdout is None:
        raise TooLongError(call.node, call.command, call.most_bytes)
    return process.returncode, stdout, said, line


def _line(command: Sequence[str], rights: Root | None) -> Line:
    return remote.line(f"exec {shlex.join(command)}", rights)


def _sorted_out(call: _Call, line: Line, code: int, stdout: bytes, stderr: bytes) -> tuple[bytes, str]:
    """The command's own output. Raises SshError where it was never begun, or the connection was lost."""
    out = remote.after_mark(stdout, line.mark)
    err = remote.after_mark(stderr, line.mark)
    words = (stderr if err is None else err).decode(errors="replace")
    if code == 255 or code < 0:
        raise error_from(call.node, words, call.cluster.ssh)
    if out is None:
        raise not_begun(call.node, code, stdout + stderr)
    if len(out) > call.most_bytes:
        raise TooLongError(call.node, call.command, call.most_bytes)
    return out, words


@contextmanager
def piped(
    cluster: Cluster, node: Node, *command: str, root: bool = False, stdin: IO[bytes] | None = None
) -> Iterator[IO[bytes]]:
    """The output of `command` on `node` as a stream, to be read to its end.

    Leaving the block waits for the command and raises SshError or RemoteError where it failed; leaving it with an
    exception kills the connection. It has a session of its own, so that Ctrl-C at the terminal reaches shoal and not
    the connection that it needs to tidy up.
    """
    call = _Call(cluster, node, command)
    rights = _rights(cluster, node) if root else None
    # Unlike with `run`, what was read of a refusal cannot be taken back: whether sudo wants a terminal is asked first.
    line = _line(command, replace(rights, tty=None) if rights else None)
    argv = [*connection(cluster.ssh, node), line.text]
    said = bytearray()
    with source(line.preamble, stdin) as given_in:
        process = begun(argv, given_in)
        # Read beside the output: a full pipe would stop the command, and a file would grow as long as the node likes.
        stderr, process.stderr = process.stderr, None  # the listener's alone, also where this is left in a hurry
        listener = threading.Thread(target=keep_words, args=(stderr, said), daemon=True)
        listener.start()
        with process:
            try:
                if process.stdin:
                    with suppress(BrokenPipeError):
                        process.stdin.write(line.preamble)
                        process.stdin.close()
                noise = up_to_mark(process.stdout, line.mark)  # type: ignore[arg-type]  # a pipe was asked for
                # Buffered from here on only: who reads the descriptor itself misses nothing.
                with io.BufferedReader(process.stdout) as output:  # type: ignore[type-var]
                    yield output
                code = process.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    process.kill()
                raise
            listener.join()
    _, words = _sorted_out(call, line, code, noise, bytes(said))
    if code != 0:
        raise RemoteError(node, command, code, words)


def stream(cluster: Cluster, node: Node, *command: str, root: bool = False) -> Iterator[str]:
    """Lines of `command`'s output as they come. Raises SshError or RemoteError at the end, as `run` does."""
    with piped(cluster, node, *command, root=root) as output:
        while line := output.readline(LINE_BYTES):
            yield line.decode(errors="replace").rstrip("\r\n")


def on_each(nodes: Sequence[Node], act: Callable[[Node], T], *, at_once: int = 16) -> dict[str, T | ShoalError]:
    """`act` on every node at the same time; per node what it gave or the ShoalError it raised, in the order given.

    The threads do not keep the process alive: where it ends in the midst, from another thread, no thread is waited for.
    """
    left: queue.SimpleQueue[Node] = queue.SimpleQueue()
    answers: dict[str, T | ShoalError] = {}
    raised: dict[str, BaseException] = {}

    def body() -> None:
        while True:
            try:
                node = left.get_nowait()
            except queue.Empty:
                return
            try:
                answers[node.name] = act(node)
            except BaseException as error:  # noqa: BLE001  # answered, or raised below in the thread that asked
                if isinstance(error, ShoalError) and not isinstance(error, UsageError):
                    answers[node.name] = error
                else:
                    raised[node.name] = error

    for node in nodes:
        left.put(node)
    threads = [threading.Thread(target=body, daemon=True) for _ in range(min(at_once, len(nodes)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        # Ctrl-C: what was begun is waited for, unless it is pressed again; nothing more is begun.
        with suppress(queue.Empty):
            while True:
                left.get_nowait()
        for thread in threads:
            thread.join()
        raise
    for node in nodes:
        if node.name in raised:
            raise raised[node.name]
    return {node.name: answers[node.name] for node in nodes}
