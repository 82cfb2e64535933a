"""Stands between the engine's compute service and Docker: what makes a container is decided by the node's own policy.

    docker_guard.py POLICY OUR_SOCKET DOCKER_SOCKET

The engine's service reaches Docker by OUR_SOCKET alone. A request to make a container is held to the policy and
confined (`admission.py`), those that the engine needs besides pass, and all others are refused. One request a
connection, so that what was looked at is all that is forwarded. Needs Python 3.8 and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import socketserver
import sys
from pathlib import Path
from typing import Any, Dict, Tuple  # noqa: UP035  # Python 3.8 on machines
from urllib.parse import unquote, urlsplit

import admission  # type: ignore[import-not-found]  # placed beside this file

HEAD_BYTES_MAX = 64 << 10
BODY_BYTES_MAX = 1 << 20
CHUNK_BYTES = 64 << 10
REQUEST_S = 30.0
"""How long a client may take to send its request."""
_ID = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_./:@-]*"
PASSED = re.compile(
    "|".join(
        (
            r"(?:GET|HEAD) /_ping",
            r"GET /(?:version|info|containers/json|networks)",
            rf"GET /containers/{_ID}/(?:json|logs)",
            rf"POST /containers/{_ID}/(?:start|stop|kill|wait)",
            rf"DELETE /(?:containers|networks)/{_ID}",
            rf"GET /networks/{_ID}",
        )
    )
)
"""What the engine asks of Docker beside making containers (pkg/docker/tracing at v1.9.3)."""
CREATE = "POST /containers/create"
IMAGE = re.compile(rf"GET /(?:images|distribution)/({_NAME})/json")


class BadRequestError(Exception):
    """What came is not a request that can be understood in one way only."""


def read_request(stream: Any) -> Tuple[str, str, Dict[str, str], bytes]:  # noqa: UP006
    """Method, target, headers (lower-case names) and body. Raises BadRequestError."""
    lines = []
    size = 0
    while True:
        line = stream.readline(HEAD_BYTES_MAX)
        size += len(line)
        if not line.endswith(b"\r\n") or size > HEAD_BYTES_MAX:
            raise BadRequestError("its head is cut off or too long")
        if line == b"\r\n":
            break
        lines.append(line[:-2].decode("latin-1"))
    words = lines[0].split(" ") if lines else []
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequestError("it does not begin with a request line")
    headers: Dict[str, str] = {}  # noqa: UP006
    for text in lines[1:]:
        name, colon, value = text.partition(":")
        if not colon or name != name.strip() or name.lower() in headers:
            raise BadRequestError("its headers are doubled or folded")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdigit() or int(length) > BODY_BYTES_MAX:
        raise BadRequestError("its body is of no known length")
    body = stream.read(int(length))
    if len(body) != int(length):
        raise BadRequestError("its body is cut off")
    return words[0], words[1], headers, body


def decided(method: str, target: str, body: bytes, policy: Dict[str, Any]) -> bytes:  # noqa: UP006
    """The body to forward. Raises admission.RefusedError."""
    path = unquote(urlsplit(target).path)
    if ".." in path or "//" in path:
        raise admission.RefusedError(f"{path} is not a plain path")
    call = f"{method} {re.sub('^/v[0-9.]+(?=/)', '', path)}"
    if call == CREATE:
        return json.dumps(admission.container(json.loads(body), policy)).encode()
    image = IMAGE.fullmatch(call)
    why = admission.image_refusal(image[1], policy) if image else None
    if why is not None:
        raise admission.RefusedError(why)
    if not image and not PASSED.fullmatch(call):
        raise admission.RefusedError(f"jobs have no use for {call}")
    if body:
        raise admission.RefusedError(f"{call} takes no body")
    return b""


def answer(code: int, reason: str, message: str) -> bytes:
    """A refusal as Docker itself words its own."""
    body = json.dumps({"message": message}).encode()
    head = f"HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


class Handler(socketserver.StreamRequestHandler):
    """One request."""

    timeout = REQUEST_S
    server: Guard

    def handle(self) -> None:
        """Decide, forward, and carry the answer back."""
        try:
            method, target, _, body = read_request(self.rfile)
            sent = decided(method, target, body, admission.load(self.server.policy))
        except admission.RefusedError as error:
            sys.stderr.write(f"refused: {error}\n")
            # Not 403: the engine would make "image not available" of that, without the reason.
            self.wfile.write(answer(409, "Conflict", f"this node does not run it: {error}"))
            return
        except (BadRequestError, ValueError, OSError, KeyError, TypeError, RecursionError) as error:
            # Closed: what cannot be decided does not run.
            sys.stderr.write(f"not decided: {type(error).__name__}: {error}\n")
            with contextlib.suppress(OSError):
                self.wfile.write(answer(400, "Bad Request", f"this node cannot decide on it: {error}"))
            return
        head = f"{method} {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Length: {len(sent)}\r\n"
        kind = "Content-Type: application/json\r\n" if sent else ""
        with socket.socket(socket.AF_UNIX) as docker:
            try:
                docker.connect(self.server.docker)
                docker.sendall(f"{head}{kind}\r\n".encode("latin-1") + sent)
            except OSError as error:
                self.wfile.write(answer(502, "Bad Gateway", f"Docker does not answer: {error}"))
                return
            self.carry(docker)

    def carry(self, docker: socket.socket) -> None:
        """Docker's answer to the client, until either of them ends."""
        self.connection.settimeout(None)
        while True:
            ready, _, _ = select.select([docker, self.connection], [], [])
            if self.connection in ready:
                return  # gone, or speaking out of turn
            chunk = docker.recv(CHUNK_BYTES)
            if not chunk:
                return
            try:
                self.connection.sendall(chunk)
            except OSError:
                return  # the client went away in mid-answer


class Guard(socketserver.ThreadingUnixStreamServer):
    """The listening socket, for root alone."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, policy: str, ours: str, docker: str) -> None:
        self.policy, self.docker = policy, docker
        with contextlib.suppress(FileNotFoundError):
            Path(ours).unlink()
        before = os.umask(0o177)
        try:
            super().__init__(ours, Handler)
        finally:
            os.umask(before)


def tell_systemd() -> None:
    """That requests are taken from now on (sd_notify(3))."""
    place = os.environ.get("NOTIFY_SOCKET")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.connect("\0" + place[1:] if place.startswith("@") else place)
            line.send(b"READY=1")


if __name__ == "__main__":
    with Guard(*sys.argv[1:4]) as guard:
        tell_systemd()
        guard.serve_forever()
