"""A container's lines over the engine's websocket, live, taken up again where a connection breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from pydantic import ValidationError
from websockets.exceptions import ConnectionClosedOK, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect, unix_connect

from shoal.bacalhau.client import Endpoint
from shoal.bacalhau.models import LogFrame

OPEN_TIMEOUT_S = 15.0
RETRY_S = 2.0
MAX_LINE_BYTES = 1 << 20


class _Broken(Exception):
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
            return
        except _Broken:
            if last_try:
                return
            last_try = over()
            time.sleep(RETRY_S)  # the pause between two tries; `over` ends them


def _once(endpoint: Endpoint, job: str, execution: str) -> Iterator[str]:
    """One connection's lines. Raises _Broken where it ends early."""
    rest = ""
    try:
        with _connect(endpoint, f"/api/v1/orchestrator/jobs/{job}/logs?execution_id={execution}&follow=true") as socket:
            while True:
                frame = LogFrame.model_validate_json(socket.recv())
                if frame.error:
                    raise _Broken
                # A long line comes in pieces; only a line break ends it.
                *whole, rest = (rest + frame.value.line).split("\n")
                yield from whole
    except ConnectionClosedOK:
        if rest:
            yield rest
    except (WebSocketException, InvalidStatus, ValidationError, OSError, TimeoutError):
        raise _Broken from None


def _connect(endpoint: Endpoint, path: str) -> ClientConnection:
    options = {
        "additional_headers": endpoint.headers,
        "open_timeout": OPEN_TIMEOUT_S,
        "max_size": MAX_LINE_BYTES,
        "ping_interval": 20,
    }
    if endpoint.socket:
        return unix_connect(str(endpoint.socket), uri=f"ws://{endpoint.address}{path}", **options)  # type: ignore[arg-type]
    return connect(f"ws://{endpoint.address}{path}", proxy=None, **options)  # type: ignore[arg-type]
