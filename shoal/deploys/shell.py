"""A shell on a machine that stays open for a whole deploy: a command costs neither a login nor a sudo of its own.

Within pyinfra's process, which is cooperative (gevent): waiting for one machine lets the others go on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import gevent  # type: ignore[import-untyped]
from gevent.event import Event  # type: ignore[import-untyped]
from gevent.subprocess import PIPE, Popen  # type: ignore[import-untyped]
from pyinfra.connectors.util import CommandOutput, OutputLine

from shoal.cluster.document import Node, SshAccess
from shoal.errors import ShoalError
from shoal.ssh import client, remote
from shoal.ssh.failures import not_begun, told
from shoal.ssh.remote import Root

CHUNK_BYTES = 1 << 17
OPEN_TIMEOUT_S = 60
"""For the login and sudo: name servers that do not answer make both slow."""
END_TIMEOUT_S = 5
_SERVER = (Path(__file__).with_name("shell.sh")).read_text(encoding="utf-8")


class SudoRefusedError(ShoalError):
    """sudo did not let the command begin; the message is its own words."""


@dataclass(slots=True)
class _Command:
    """What is known of the command that runs now."""

    mark: str
    said: Callable[[OutputLine], None] | None = None
    sink: IO[bytes] | None = None
    """Where standard output goes as it is."""
    lines: list[OutputLine] = field(default_factory=list)
    code: int | None = None
    begun: set[str] = field(default_factory=set)
    """Streams whose end mark has come."""
    held: dict[str, bytes] = field(default_factory=dict)
    """By stream the last line: its break may be the one that goes before the mark."""
    done: Event = field(default_factory=Event)

    def take(self, name: str, raw: bytes) -> None:
        """One more line of the command's."""
        before = self.held.get(name)
        self.held[name] = raw
        if before is not None:
            self._give(name, before)

    def end(self, name: str, raw: bytes) -> None:
        """The line with the mark has come."""
        last = self.held.pop(name, b"").removesuffix(b"\n")
        last += raw[: raw.index(self.mark.encode())]  # what a login shell prints without a line break
        if last:
            self._give(name, last)
        words = raw.split()
        if name == "stdout" and len(words) > 1 and words[-1].isdigit():
            self.code = int(words[-1])
        self.begun.add(name)
        if len(self.begun) == 2:
            self.done.set()

    def text(self, name: str) -> str:
        """All that came on a stream."""
        lines = [line.line for line in self.lines if line.buffer_name == name]
        return "\n".join([*lines, self.held.get(name, b"").decode(errors="replace").rstrip("\n")])

    def _give(self, name: str, raw: bytes) -> None:
        if name == "stdout" and self.sink is not None:
            self.sink.write(raw)
            return
        line = OutputLine(name, raw.decode(errors="replace").removesuffix("\n"))
        self.lines.append(line)
        if self.said:
            self.said(line)


class Shell:
    """One open shell, of the login user's or as `root` says. Commands are run one after the other."""

    def __init__(self, node: Node, access: SshAccess, root: Root | None) -> None:
        """Log in. Raises SshError, SudoRefusedError, TimeoutError."""
        self._node, self._access = node, access
        line = remote.line(_SERVER, root)
        argv = [*client.connection(access, node), line.text]
        self._process = Popen(argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=client.environment())
        self._current = _Command(line.mark)
        self._open = {"stdout", "stderr"}
        self._readers = [
            gevent.spawn(self._read, "stdout", self._process.stdout),
            gevent.spawn(self._read, "stderr", self._process.stderr),
        ]
        with suppress(BrokenPipeError):  # told below, by how it ended
            self._write(line.preamble)
        self._await(self._current, OPEN_TIMEOUT_S)
        if root is not None:
            # The marks came before sudo: it may refuse yet.
            self._first_as_root()

    def _first_as_root(self) -> None:
        try:
            self.run("true", timeout_s=OPEN_TIMEOUT_S)
        except ShoalError:
            words = [text for line in self._current.text("stderr").splitlines() if (text := line.strip())]
            if self._process.returncode in (255, None) or not words:
                raise
            raise SudoRefusedError("; ".join(words[-3:])) from None

    @property
    def alive(self) -> bool:
        """Whether it takes commands."""
        return len(self._open) == 2 and self._process.poll() is None

    def run(
        self,
        script: str,
        *,
        feed: bytes | IO[bytes] | None = None,
        feed_bytes: int = 0,
        timeout_s: float | None = None,
        said: Callable[[OutputLine], None] | None = None,
        sink: IO[bytes] | None = None,
    ) -> tuple[int, CommandOutput]:
        """Run `script`: its exit status and lines. `feed`, of `feed_bytes`, is its standard input.

        Raises SshError where the connection is lost, TimeoutError; the shell is closed then.
        """
        command = self._current = _Command(f"shoal-{secrets.token_hex(8)}", said, sink)
        code = script.encode("utf-8", "surrogateescape")
        try:
            self._write(f"{command.mark} {len(code)} {feed_bytes if feed is not None else -1}\n".encode() + code)
            if isinstance(feed, bytes):
                self._write(feed)
            elif feed is not None:
                while chunk := feed.read(CHUNK_BYTES):
                    self._write(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it ended: told below, in ssh's own words
        self._await(command, timeout_s)
        if command.code is None:
            raise told(self._node, "the machine's answer is not understood", self._access)
        return command.code, CommandOutput(command.lines)

    def close(self) -> None:
        """End it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.close()
        gevent.joinall(self._readers, timeout=END_TIMEOUT_S)
        self._kill()

    def _write(self, content: bytes) -> None:
        self._process.stdin.write(content)
        self._process.stdin.flush()

    def _read(self, name: str, stream: IO[bytes]) -> None:
        for raw in stream:
            if self._current.mark.encode() in raw:
                self._current.end(name, raw)
            else:
                self._current.take(name, raw)
        self._open.discard(name)
        if not self._open:
            self._current.done.set()

    def _await(self, command: _Command, timeout_s: float | None) -> None:
        if not command.done.wait(timeout_s):
            self._kill()
            raise TimeoutError(f"no end within {timeout_s:.0f} s")
        if len(command.begun) == 2:
            return
        code = int(self._process.wait())
        self._kill()
        words = command.text("stderr")
        error = told(self._node, words, self._access)
        if code == 255 or code < 0 or error.recognised:
            raise error
        raise not_begun(self._node, code, f"{command.text('stdout')}\n{words}".encode())

    def _kill(self) -> None:
        gevent.killall(self._readers)
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
        self._open.clear()
        for stream in (self._process.stdout, self._process.stderr):
            stream.close()
