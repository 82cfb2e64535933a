"""A container's lines over the engine's websocket, live, taken up again where a connection breaks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosedOK, WebSocketException
from websockets.sync.client import ClientConnection, connect, unix_connect

from shoal import untrusted
from shoal.engines.bacalhau.client import Endpoint, EngineError
from shoal.engines.bacalhau.models import LogFrame
from shoal.untrusted import Bounds, DamagedDocumentError
from shoal.waiting import looks, until

OPEN_TIMEOUT_S = 15.0
CLOSE_TIMEOUT_S = 0.5
"""The engine answers a farewell with the container's next line at the earliest, which may be long in coming."""
RETRY_S = 2.0
WAIT_S = 0.5
SILENCE_S = 2.0
"""After so long without a line it is asked whether any can still come. The engine does not answer pings."""
FIRST_LINE_S = 4.0
"""A stream without a first line for so long gets another one beside it, and after as long again one more ..."""
NEXT_LINE_S = 60.0
"""... up to MOST of them; then, and where there were lines before, after this: as long as a node waits for the first
line of a container before it gives up (executionLogFileMaxWaitTime in the engine's pkg/compute/logstream)."""
END_S = 3.0
"""How long after the end of its lines an execution may take to be seen to have ended."""
MOST = 6
"""Streams at once. Opened FIRST_LINE_S apart, one of them is young at each of the engine's next two looks at least: as
many streams in a row may hold the node."""
MAX_LINE_BYTES = 1 << 20
BOUNDS = Bounds(size_bytes=MAX_LINE_BYTES, text_chars=MAX_LINE_BYTES)
_QUIET = logging.getLogger(f"{__name__}.websocket")
_QUIET.propagate = False
_QUIET.addHandler(logging.NullHandler())


class _BrokenError(Exception):
    """The stream ended before its end."""


class _EndedError(Exception):
    """The engine ended the stream as it does when all is said, and where it gives way to another."""


@dataclass(slots=True)
class _Stream:
    """One connection and how far it has come."""

    socket: ClientConnection
    lines: int = 0
    rest: str = ""

    def take(self, timeout_s: float) -> list[tuple[int, str]]:
        """The whole lines of the next message, numbered from 1. Raises TimeoutError, _EndedError and _BrokenError."""
        try:
            said = self.socket.recv(timeout=timeout_s)
            frame = untrusted.document(said, LogFrame, source="the engine's line", bounds=BOUNDS)
        except ConnectionClosedOK:
            if not self.rest:
                raise _EndedError from None
            whole, self.rest = [self.rest], ""  # the end comes again with the next message
        except TimeoutError:
            raise
        except (WebSocketException, DamagedDocumentError, OSError):
            raise _BrokenError from None
        else:
            if frame.error:
                raise _BrokenError
            # A long line comes in pieces; only a line break ends it.
            *whole, self.rest = (self.rest + frame.value.line).split("\n")
            while len(self.rest) > MAX_LINE_BYTES:
                whole.append(self.rest[:MAX_LINE_BYTES])
                self.rest = self.rest[MAX_LINE_BYTES:]
        first = self.lines + 1
        self.lines += len(whole)
        return list(enumerate(whole, start=first))


def lines(
    endpoint: Endpoint, job: str, execution: str, *, over: Callable[[], bool], never: Callable[[], bool] = lambda: False
) -> Iterator[str]:
    """The lines of one execution from the first one on; ends when the container has ended and all have come.

    The engine has no way to go on in the middle, so after a break the lines that came already are passed over. It ends
    a stream that gives way to another as if all were said: only one with lines, at the execution's end, or one that
    was begun after that, is taken for whole. `over` says whether the execution is at its end, `never` whether that came
    before there was a container: a stream of such a one holds its node for a minute, so none is opened any more.
    """
    path = f"/api/v1/orchestrator/jobs/{job}/logs?execution_id={execution}&follow=true"
    seen = 0
    for _ in looks(RETRY_S):
        if never():
            return
        last_try = over()
        numbered = _until_ended(endpoint, path, over)
        whole = False
        while True:
            try:
                number, text = next(numbered)
            except StopIteration as end:
                whole = end.value
                break
            if number > seen:
                seen = number
                yield text
        if last_try or whole:
            return


def _until_ended(endpoint: Endpoint, path: str, over: Callable[[], bool]) -> Generator[tuple[int, str], None, bool]:
    """Numbered lines, some of them more than once; returns whether all were said.

    A compute node gives one stream at a time to all who ask, each to its container's end: a stream that is given up
    still holds the node, and the next one waits behind it. So a silent stream is kept. What else may hold the node is
    the stream of a client that is gone, or an orchestrator's that lost the node; the engine lets go of such a one at
    the next of its looks, 10 s apart, that finds a stream opened within the last 5 s. Hence others beside it.
    (`LogStreamHandler.handleRequest` and `ConsumerClient.getNotActiveStreamIds` of the engine's pkg/nats, v1.9.3.)
    """
    with ExitStack() as closing:
        streams: list[_Stream] = []
        heard = time.monotonic()
        patience_s = FIRST_LINE_S
        try:
            streams.append(_open(endpoint, path, closing))
            while streams:
                came, ended = _next(streams)
                if came:
                    yield from came
                    heard, patience_s = time.monotonic(), NEXT_LINE_S
                if ended and _soon(over):
                    return True
                silent_s = time.monotonic() - heard
                if silent_s >= SILENCE_S and over():
                    return False
                if streams and silent_s >= patience_s:
                    if len(streams) == MOST:
                        streams.pop(0).socket.close()
                    streams.append(_open(endpoint, path, closing))
                    heard, patience_s = time.monotonic(), FIRST_LINE_S if len(streams) < MOST else NEXT_LINE_S
        except (WebSocketException, OSError, EngineError):
            pass  # nothing answers now; opened again by the caller
        return False


def _next(streams: list[_Stream]) -> tuple[list[tuple[int, str]], bool]:
    """The next lines of any, and whether one of those that had lines ended in order; those that ended are let go."""
    came: list[tuple[int, str]] = []
    ended = False
    for stream in tuple(streams):
        try:
            # The first is waited for, having come first; the others are only looked at.
            came += stream.take(WAIT_S if stream is streams[0] and not came else 0)
        except TimeoutError:
            continue
        except _EndedError:
            streams.remove(stream)
            ended = ended or stream.lines > 0
        except _BrokenError:
            streams.remove(stream)
    return came, ended


def _soon(over: Callable[[], bool]) -> bool:
    """Whether the execution is seen to be over within END_S."""
    return until(over, every_s=0.1, timeout_s=END_S) or False  # another thread asks the engine


def _open(endpoint: Endpoint, path: str, closing: ExitStack) -> _Stream:
    endpoint.ensure()
    return _Stream(closing.enter_context(_connect(endpoint, path)))


def _connect(endpoint: Endpoint, path: str) -> ClientConnection:
    address = f"ws://{endpoint.address}{path}"
    if endpoint.socket:
        return unix_connect(
            str(endpoint.socket),
            uri=address,
            additional_headers=endpoint.headers,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_LINE_BYTES,
            ping_interval=None,
            logger=_QUIET,
        )
    return connect(
        address,
        proxy=None,
        additional_headers=endpoint.headers,
        open_timeout=OPEN_TIMEOUT_S,
        close_timeout=CLOSE_TIMEOUT_S,
        max_size=MAX_LINE_BYTES,
        ping_interval=None,
        logger=_QUIET,
    )
