"""A shell on a machine that stays open for a whole deploy: a command costs neither a login nor a sudo of its own.

Within pyinfra's process, which is cooperative (gevent): waiting for one machine lets the others go on.
"""

from __future__ import annotations

import re
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import gevent  # type: ignore[import-untyped]
from gevent.event import Event  # type: ignore[import-untyped]
from gevent.subprocess import PIPE, Popen  # type: ignore[import-untyped]
from pyinfra.connectors.util import CommandOutput, OutputLine

from shoal.cluster.document import Node, SshAccess
from shoal.errors import ShoalError
from shoal.ssh import connect, remote
from shoal.ssh.failures import SshError, SshFailure, error_from, not_begun
from shoal.ssh.remote import Root

CHUNK_BYTES = 1 << 17
OPEN_TIMEOUT_S = 60
"""For the login and sudo: name servers that do not answer make both slow."""
END_TIMEOUT_S = 5
STRAYS = 20
"""So many lines that belong to no command are kept: the last words of a sudo or an ssh that ended."""
_SERVER = (Path(__file__).with_name("shell.sh")).read_text(encoding="utf-8")


class SudoRefusedError(ShoalError):
    """sudo did not let the command begin; the message is its own words."""


@dataclass(slots=True)
class _Command:
    """What is known of the command that runs now."""

    mark: str
    on_line: Callable[[OutputLine], None] | None = None
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
        if name == "stdout" and len(words) > 1 and re.fullmatch(rb"[0-9]{1,3}", words[-1]):
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
        if self.on_line:
            self.on_line(line)


class Shell:
    """One open shell, of the login user's or as `root` says. It runs one command at a time."""

    def __init__(self, node: Node, access: SshAccess, root: Root | None) -> None:
        """Log in. Raises SshError, SudoRefusedError, TimeoutError."""
        self._node, self._access = node, access
        line = remote.line(_SERVER, root)
        argv = [*connect.connection(access, node), line.text]
        self._process = Popen(argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=connect.environment())
        self._current = _Command(line.mark)
        self._opened = self._fed = False
        self._strays: deque[str] = deque(maxlen=STRAYS)
        """Lines of standard error that came between two commands."""
        self._readers = {
            name: gevent.spawn(self._read, name, stream)
            for name, stream in (("stdout", self._process.stdout), ("stderr", self._process.stderr))
        }
        for reader in self._readers.values():
            reader.link(self._reader_ended)
        with self._limited(OPEN_TIMEOUT_S):
            self._write(line.preamble)
            self._await(self._current)
        self._opened = True
        if root is not None:
            # The marks came before sudo: it may refuse yet.
            self._first_as_root()

    def _first_as_root(self) -> None:
        try:
            self.run("true", timeout_s=OPEN_TIMEOUT_S)
        except ShoalError:
            words = [text for line in self._last_words(self._current).splitlines() if (text := line.strip())]
            if self._process.returncode in (255, None) or not words:
                raise
            raise SudoRefusedError("; ".join(words[-3:])) from None

    @property
    def alive(self) -> bool:
        """Whether it takes commands."""
        return (
            not self._fed and not any(reader.dead for reader in self._readers.values()) and self._process.poll() is None
        )

    def run(
        self,
        script: str,
        *,
        feed: bytes | IO[bytes] | None = None,
        timeout_s: float | None = None,
        on_line: Callable[[OutputLine], None] | None = None,
        sink: IO[bytes] | None = None,
    ) -> tuple[int, CommandOutput]:
        """Run `script`: its exit status and lines. `feed` is its standard input; the shell takes no command after it.

        Raises SshError where the connection is lost, TimeoutError, and what `on_line`, `feed` and `sink` raise; the
        shell is closed then.
        """
        command = self._current = _Command(f"shoal-{secrets.token_hex(8)}", on_line, sink)
        text = f"{command.mark} {'nothing' if feed is None else 'rest'}\n{script}\n{command.mark}\n"
        with self._limited(timeout_s):
            self._write(text.encode("utf-8", "surrogateescape"))
            if feed is not None:
                self._fed = True
                self._feed(feed)
            self._await(command)
        if command.code is None:
            self._kill()
            raise error_from(self._node, "the machine's answer is not understood", self._access)
        self._strays.clear()
        return command.code, CommandOutput(command.lines)

    def close(self) -> None:
        """End it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.close()
        gevent.joinall(list(self._readers.values()), timeout=END_TIMEOUT_S)
        self._kill()

    @contextmanager
    def _limited(self, timeout_s: float | None) -> Iterator[None]:
        """A block that ends within the time, or the shell does; also where the block ends with another error."""
        over = TimeoutError(f"no end within {timeout_s or 0:.0f} s")
        try:
            with gevent.Timeout(timeout_s, over):
                yield
        except BaseException:
            # What the command still prints would be taken for the next one's.
            self._kill()
            raise

    def _write(self, content: bytes) -> None:
        # Where it has ended, `_await` raises it in ssh's own words.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(content)
            self._process.stdin.flush()

    def _feed(self, feed: bytes | IO[bytes]) -> None:
        # A command may end before it has read all: the rest is not wanted.
        with suppress(BrokenPipeError, ConnectionResetError):
            with BytesIO(feed) if isinstance(feed, bytes) else nullcontext(feed) as source:
                while chunk := source.read(CHUNK_BYTES):
                    self._process.stdin.write(chunk)
            self._process.stdin.close()

    def _read(self, name: str, stream: IO[bytes]) -> None:
        for raw in stream:
            if self._current.mark.encode() in raw:
                self._current.end(name, raw)
            elif name not in self._current.begun:
                self._current.take(name, raw)
            elif name == "stderr":
                self._strays.append(raw.decode(errors="replace").rstrip("\n"))

    def _last_words(self, command: _Command) -> str:
        """What came on standard error since the command before: a refusal may be read before the next one is begun."""
        return "\n".join([*self._strays, command.text("stderr")])

    def _reader_ended(self, reader: Any) -> None:
        if reader.exception or all(other.dead for other in self._readers.values()):
            self._current.done.set()

    def _await(self, command: _Command) -> None:
        if not all(reader.dead for reader in self._readers.values()):
            command.done.wait()
        for reader in self._readers.values():
            if reader.exception:
                raise reader.exception
        if len(command.begun) == 2:
            return
        code = int(self._process.wait())
        words = self._last_words(command)
        error = error_from(self._node, words, self._access)
        if code == 255 or code < 0 or error.recognised:
            raise error
        if self._opened:
            raise SshError(self._node, SshFailure.LOST, f"its shell ended with {code}", self._access)
        raise not_begun(self._node, code, f"{command.text('stdout')}\n{words}".encode())

    def _kill(self) -> None:
        gevent.killall(list(self._readers.values()))
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            stream.close()
