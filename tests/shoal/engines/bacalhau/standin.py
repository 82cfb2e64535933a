"""A stand-in for the orchestrator: replays one scenario that record.py took down from a real one.

Every call has the answers that were recorded for it, in their order; the last one is given again and again. A call that
was not recorded gets 599 and is remembered, so that a test that asks for something else fails. Answers can be made
scarce (`silent_for`) and log connections cut (`cut_after`) to show what shoal makes of that.
"""

from __future__ import annotations

import base64
import hashlib
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

RECORDINGS = Path(__file__).resolve().parent / "recordings"
_ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


@dataclass
class StandIn:
    """One scenario, being served."""

    scenario: dict[str, Any]
    address: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path and decoded body of every call."""
    unknown: list[str] = field(default_factory=list)
    silent_for: int = 0
    """So many calls are broken off without an answer."""
    cut_after: int | None = None
    """The first log connection is broken off after so many lines."""
    empty_first: bool = False
    """The first log connection is ended at once, as the engine does where the container is not there yet."""
    ended_after: int | None = None
    """The first log connection is ended in order after so many lines, as the engine's are that give way to another."""
    first_line_s: float = 0.0
    """So long every log connection is silent before its first line, as while a container starts."""
    mute_first: bool = False
    """The first log connection stays open and silent for good, as the engine's do to a node that was lost."""
    held: bool = False
    """Somebody else's stream holds the node, until a second connection has the engine look; then they are served one
    after the other, in the order in which they came."""
    live_until_said: bool = False
    """The job goes on until a log connection has given all its lines."""
    log_connections: list[str] = field(default_factory=list)
    """The execution of every log connection."""
    given: dict[tuple[str, str, str], int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    served: threading.Condition = field(default_factory=threading.Condition)
    streams_ended: int = 0
    given_up: int = 0
    """Log connections that the other side had left by the time of their first line, nobody having got all lines."""
    said: bool = False

    def answer(self, method: str, path: str, query: dict[str, str]) -> tuple[int, Any]:
        recorded = [
            exchange
            for exchange in self.scenario["exchanges"]
            if (exchange["method"], exchange["path"], exchange["query"]) == (method, path, query)
        ]
        if not recorded:
            self.unknown.append(f"{method} {path} {query}")
            return 599, {"Message": "not recorded"}
        if self.live_until_said and not self.said and query == {"include": "executions"}:
            live = [exchange for exchange in recorded if exchange["body"]["Job"]["State"]["StateType"] != "Pending"]
            return int(live[0]["status"]), live[0]["body"]
        key = (method, path, json.dumps(query, sort_keys=True))
        number = self.given.get(key, 0)
        self.given[key] = number + 1
        exchange = recorded[min(number, len(recorded) - 1)]
        return int(exchange["status"]), exchange["body"]


@contextmanager
def serving(name: str, **changes: Any) -> Iterator[StandIn]:
    """The scenario `name` on a loopback port; `changes` are fields of StandIn."""
    scenario = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    stand_in = StandIn(scenario, **changes)

    class Handler(_Handler):
        state = stand_in

    server = _Server(("127.0.0.1", 0), Handler)
    stand_in.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """A connection that the other side broke off is nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    state: StandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._websocket()
        else:
            self._answer("GET")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""

    def _answer(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/api/v1")
        with self.state.lock:
            self.state.calls.append((method, path, body))
            if self.state.silent_for > 0:
                self.state.silent_for -= 1
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, answer = self.state.answer(method, path, dict(parse_qsl(parts.query)))
        payload = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _websocket(self) -> None:
        self.close_connection = True
        execution = dict(parse_qsl(urlsplit(self.path).query)).get("execution_id", "")
        with self.state.lock:
            self.state.log_connections.append(execution)
        recorded = self.state.scenario["logs"].get(execution)
        if recorded is None or "rejected" in recorded:
            self.send_error(recorded["rejected"] if recorded else 404)
            return
        accept = hashlib.sha1((self.headers["Sec-WebSocket-Key"] + _ACCEPT).encode(), usedforsecurity=False).digest()
        self.send_response(101)
        for name, value in (
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", base64.b64encode(accept).decode()),
        ):
            self.send_header(name, value)
        self.end_headers()
        with self.state.lock:
            cut_after, self.state.cut_after = self.state.cut_after, None
            empty, self.state.empty_first = self.state.empty_first, False
            mute, self.state.mute_first = self.state.mute_first, False
            ended_after, self.state.ended_after = self.state.ended_after, None
        if mute:
            self.wfile.flush()
            self.rfile.read(1)  # until the other side has had enough
            return
        self._wait_for_its_turn()
        self.wfile.flush()
        time.sleep(self.state.first_line_s)
        if not self.state.said and select.select([self.connection], [], [], 0)[0]:
            self.state.given_up += 1
        for number, frame in enumerate([] if empty else recorded["frames"]):
            if number == cut_after:
                self.wfile.flush()
                return  # no closing handshake: a connection that broke
            if number == ended_after:
                break
            self.wfile.write(_frame(0x1, frame.encode()))
        else:
            self.state.said = not empty
        self.wfile.write(_frame(0x8, struct.pack(">H", recorded["close_code"])))
        self.wfile.flush()
        with self.state.served:
            self.state.streams_ended += 1
            self.state.served.notify_all()

    def _wait_for_its_turn(self) -> None:
        with self.state.served:
            place = len(self.state.log_connections)
            self.state.served.notify_all()
            if self.state.held:
                self.state.served.wait_for(
                    lambda: len(self.state.log_connections) > 1 and self.state.streams_ended >= place - 1, 10
                )


def _frame(kind: int, payload: bytes) -> bytes:
    """A whole unmasked frame (RFC 6455, 5.2)."""
    if len(payload) < 126:
        return bytes([0x80 | kind, len(payload)]) + payload
    return bytes([0x80 | kind, 126]) + struct.pack(">H", len(payload)) + payload
