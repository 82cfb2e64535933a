"""A container's lines over the engine's websocket, live, taken up again where a connection breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from pydantic import ValidationError
from websockets.exceptions import ConnectionClosedOK, WebSocketException
from websockets.sync.client import ClientConnection, connect, unix_connect

from shoal.bacalhau.client import Endpoint, EngineError
from shoal.bacalhau.models import LogFrame

OPEN_TIMEOUT_S = 15.0
RETRY_S = 2.0
MAX_LINE_BYTES = 1 << 20


class _BrokenError(Exception):
    """The stream ended before its end."""


def lines(endpoint: Endpoint, job: str, execution: str, *, over: Callable[[], bool]) -> Iterator[str]:
    """The lines of one execution from the first one on; ends when the container has ended and all have come.

    The engine has no way to go on in the middle, so after a break the lines that came already are passed over.
    `over` is asked after a break: where the execution is at its end and gives no more lines, nor does this.
    """
    seen = 0
    last_try = False
    while True:
        number = 0
        try:
            for text in _once(endpoint, job, execution):
                number += 1
                if number > seen:
                    seen = number
                    yield text
        except _BrokenError:
            if last_try:
                return
            last_try = over()
            time.sleep(RETRY_S)  # the pause between two tries; `over` ends them
        else:
            return


def _once(endpoint: Endpoint, job: str, execution: str) -> Iterator[str]:
    """One connection's lines. Raises _BrokenError where it ends early."""
    rest = ""
    try:
        endpoint.ensure()
        with _connect(endpoint, f"/api/v1/orchestrator/jobs/{job}/logs?execution_id={execution}&follow=true") as socket:
            while True:
                frame = LogFrame.model_validate_json(socket.recv())
                if frame.error:
                    raise _BrokenError
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
        )
    return connect(
        address,
        proxy=None,
        additional_headers=endpoint.headers,
        open_timeout=OPEN_TIMEOUT_S,
        max_size=MAX_LINE_BYTES,
    )
