"""Real stores for the tests: rclone's own servers on the loopback, and a proxy before one of them that makes faults."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from outbox.store import Store

KEY, SECRET = "AKIDTEST", "notasecretatall"
PROGRAM = os.environ.get("SHOAL_RCLONE") or shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
"""The wheel's; `SHOAL_RCLONE` names another, as Debian's 1.60."""
SERVER = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
BUCKET = "bucket"


def free_port() -> int:
    """A port of the loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(kind: str, folder: Path, *options: str) -> Iterator[int]:
    """`rclone serve KIND` of a folder; gives its port when it answers."""
    port = free_port()
    with (folder.parent / f"{kind}.log").open("wb") as log:
        server = subprocess.Popen(
            [SERVER, "--config", "/dev/null", "serve", kind, "--addr", f"127.0.0.1:{port}", *options, str(folder)],
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        )
        try:
            _answers(port, server)
            yield port
        finally:
            server.kill()
            server.wait()


def _answers(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert server.poll() is None, "the server has ended"
        with socket.socket() as probe:
            probe.settimeout(0.1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.05)
    raise AssertionError("the server does not answer")


@contextmanager
def s3(folder: Path) -> Iterator[int]:
    """An S3 server whose buckets are the folders under `folder`."""
    (folder / BUCKET).mkdir(parents=True)
    with serving("s3", folder, "--auth-key", f"{KEY},{SECRET}") as port:
        yield port


def s3_config(folder: Path, endpoint: str, *, secret: str = SECRET) -> Path:
    """An rclone.conf as the role writes it, and its credential."""
    credential = folder / "credential"
    credential.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {secret}\n")
    config = folder / "rclone.conf"
    config.write_text(
        "[store]\ntype = s3\nprovider = Other\nenv_auth = true\nno_check_bucket = true\nforce_path_style = true\n"
        f"region = us-east-1\nupload_cutoff = 4G\nendpoint = {endpoint}\nshared_credentials_file = {credential}\n"
    )
    return config


def s3_store(folder: Path, endpoint: str, **more: str) -> Store:
    """The store of an endpoint."""
    return Store(PROGRAM, str(s3_config(folder, endpoint, **more)), f"store:{BUCKET}")


Fault = Callable[["Handler"], bool]
"""Answers a PUT itself and gives True, or lets it go on."""


@dataclass
class Proxy:
    """What went through: body bytes per request, and uploads that the server acknowledged."""

    upstream: int
    port: int = 0
    faults: list[Fault | None] = field(default_factory=list)
    """For the next PUTs, in order; None lets one pass."""
    head_faults: list[Fault | None] = field(default_factory=list)
    body_bytes: int = 0
    put: list[str] = field(default_factory=list)
    """Paths of PUTs that the server has taken whole."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Handler(BaseHTTPRequestHandler):
    """Hands requests on; counts what comes in."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *words: object) -> None:
        del words

    def do_HEAD(self) -> None:
        self._next(self.proxy.head_faults)

    def do_GET(self) -> None:
        self._next(self.proxy.head_faults)

    def do_PUT(self) -> None:
        self._next(self.proxy.faults)

    def _next(self, faults: list[Fault | None]) -> None:
        with self.proxy.lock:
            fault = faults.pop(0) if faults else None
        if fault is None or not fault(self):
            self.hand_on()

    def body(self, limit: int | None = None) -> bytes:
        """The request's body, or its first bytes; all that arrives is counted."""
        left = int(self.headers.get("Content-Length") or 0)
        left = left if limit is None else min(left, limit)
        got = b""
        while left and (chunk := self.rfile.read1(min(left, 1 << 16))):
            got += chunk
            left -= len(chunk)
            with self.proxy.lock:
                self.proxy.body_bytes += len(chunk)
        return got

    def hand_on(self, *, answer: bool = True) -> None:
        """Ask the server behind, and answer as it does."""
        body = self.body()
        if len(body) != int(self.headers.get("Content-Length") or 0):
            self.close_connection = True
            return  # the client was killed in mid-upload
        behind = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream)
        behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            behind.putheader(name, value)
        behind.endheaders(body or None)
        got = behind.getresponse()
        data = got.read()
        if self.command == "PUT" and got.status == 200:
            with self.proxy.lock:
                self.proxy.put.append(self.path.partition("?")[0])
        if not answer:
            self.drop()
            return
        self.send_response(got.status)
        for name, value in got.headers.items():
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        length = got.headers.get("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def drop(self) -> None:
        """End the connection without a word."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def say(self, status: int, code: str) -> None:
        """An answer as S3 gives errors."""
        text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)


@contextmanager
def proxied(upstream: int) -> Iterator[Proxy]:
    """A proxy before the server at that port."""
    proxy = Proxy(upstream)
    handler = type("Bound", (Handler,), {"proxy": proxy})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answering(status: int, code: str) -> Fault:
    """A fault that takes the body and answers with an error."""

    def fault(handler: Handler) -> bool:
        handler.body()
        handler.say(status, code)
        return True

    return fault


def cut_off_after(size_bytes: int) -> Fault:
    """A link that goes down in mid-upload."""

    def fault(handler: Handler) -> bool:
        handler.body(size_bytes)
        handler.drop()
        return True

    return fault


def lost_acknowledgement(handler: Handler) -> bool:
    """The upload arrives, and nobody hears of it."""
    handler.hand_on(answer=False)
    return True


def storing(served: Path, change: Callable[[bytes], bytes]) -> Fault:
    """A store that says yes and keeps something else."""

    def fault(handler: Handler) -> bool:
        data = change(handler.body())
        target = served / re.sub(r"\?.*", "", handler.path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        handler.send_response(200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return fault
