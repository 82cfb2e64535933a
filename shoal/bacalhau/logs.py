"""A container's lines over the engine's websocket, live, taken up again where a connection breaks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from pydantic import ValidationError
from websockets.exceptions import ConnectionClosedOK, WebSocketException
from websockets.sync.client import ClientConnection, connect, unix_connect

from shoal.bacalhau.client import Endpoint, EngineError
from shoal.bacalhau.models import LogFrame

OPEN_TIMEOUT_S = 15.0
RETRY_S = 2.0
SILENCE_S = 2.0
"""After so long without a line it is asked whether any can still come. The engine does not answer pings."""
FIRST_LINE_S = 4.0
"""A stream without a first line for so long is opened again ..."""
NEXT_LINE_S = 60.0
"""... and one that had lines, after this; the lines that came are then passed over."""
MAX_LINE_BYTES = 1 << 20
_QUIET = logging.getLogger(f"{__name__}.websocket")
_QUIET.propagate = False
_QUIET.addHandler(logging.NullHandler())


class _BrokenError(Exception):
    """The stream ended before its end."""


def lines(endpoint: Endpoint, job: str, execution: str, *, over: Callable[[], bool]) -> Iterator[str]:
    """The lines of one execution from the first one on; ends when the container has ended and all have come.

    The engine has no way to go on in the middle, so after a break the lines that came already are passed over. It ends
    the stream of a container that is not there yet as if it had said all: only a stream with lines, or one that was
    begun after the execution's end, is taken for whole. `over` says whether the execution is at its end.
    """
    seen = 0
    while True:
        last_try = over()
        number = 0
        whole = True
        try:
            for text in _once(endpoint, job, execution, over):
                number += 1
                if number > seen:
                    seen = number
                    yield text
        except _BrokenError:
            whole = False
        if last_try or (whole and number):
            return
        time.sleep(RETRY_S)  # the pause between two tries; `over` ends them


def _once(endpoint: Endpoint, job: str, execution: str, over: Callable[[], bool]) -> Iterator[str]:
    """One connection's lines. Raises _BrokenError where it ends early, or is silent for too long.

    A stream that was opened before its container was there was seen to stay silent for ever, and an orchestrator that
    loses a node leaves its streams open; neither says so.
    """
    rest = ""
    silent_s = 0.0
    patience_s = FIRST_LINE_S
    try:
        endpoint.ensure()
        with _connect(endpoint, f"/api/v1/orchestrator/jobs/{job}/logs?execution_id={execution}&follow=true") as socket:
            while True:
                try:
                    frame = LogFrame.model_validate_json(socket.recv(timeout=SILENCE_S))
                except TimeoutError:
                    silent_s += SILENCE_S
                    if silent_s >= patience_s or over():
                        raise _BrokenError from None
                    continue
                if frame.error:
                    raise _BrokenError
                silent_s, patience_s = 0.0, NEXT_LINE_S
                # A long line comes in pieces; only a line break ends it.
                *whole, rest = (rest + frame.value.line).split("\n")
                yield from whole
    except ConnectionClosedOK:
        if rest:
            yield rest
    except (WebSocketException, ValidationError, OSError, EngineError):
        raise _BrokenError from None


def _connect(endpoint: Endpoint, path: str) -> ClientConnection:
    address = f"ws://{endpoint.address}{path}"
    if endpoint.socket:
        return unix_connect(
            str(endpoint.socket),
            uri=address,
            additional_headers=endpoint.headers,
            open_timeout=OPEN_TIMEOUT_S,
            max_size=MAX_LINE_BYTES,
            ping_interval=None,
            logger=_QUIET,
        )
    return connect(
        address,
        proxy=None,
        additional_headers=endpoint.headers,
        open_timeout=OPEN_TIMEOUT_S,
        max_size=MAX_LINE_BYTES,
        ping_interval=None,
        logger=_QUIET,
    )
