"""Runs on a compute node: asks the orchestrator whether it takes the token in a configuration file.

    wait CONFIG TIMEOUT_S   waits until the orchestrator answers; 1, and why on stderr, where it refuses or stays silent
    look CONFIG             prints `taken` if it takes the token now

A compute service starts, and says that it is well, with any token at all. So the way is tried that it will go: as a
client of the orchestrator's message port, encrypted, with the same authority and the same token. Needs Python 3.8 and
nothing else.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

POLL_S = 0.5
ANSWER_S = 5.0
REFUSED = (
    "the orchestrator at {place} refuses this node's token ({said}): the machine you deploy from has other tokens for "
    "this cluster than the one that deployed the orchestrator. The node's service was left as it was. Bring that "
    "machine's tokens here (the cluster's file in `secrets` of its state folder) and deploy again, or deploy the whole "
    "site from here, without --limit: then the orchestrator gets the tokens of this machine too"
)
STRANGER = (
    "what answers at {place} does not show a certificate of this cluster's authority ({said}): the machine you deploy "
    "from has other secrets for this cluster than the one that deployed the orchestrator, or something stands in "
    "between. The node's service was left as it was. Bring that machine's secrets here (the cluster's file in "
    "`secrets` of its state folder), or deploy the whole site from here, without --limit"
)
PLAIN = (
    "the orchestrator at {place} does not encrypt yet: an earlier version deployed it. The node's service was left as "
    "it was. Deploy the whole site, without --limit: the orchestrator comes first"
)
SILENT = (
    "the orchestrator at {place} does not answer this node ({said}): see that bacalhau-orchestrator runs there and "
    "that nothing on the way keeps this node from that port, then deploy again"
)


def settings(path: str) -> dict[str, Any]:
    """The configuration file at `path`."""
    text = Path(path).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads("".join(line for line in text.splitlines(True) if not line.startswith("#")))
    return found


class PlainError(Exception):
    """The orchestrator speaks without encryption."""


def line_of(way: socket.socket) -> bytes:
    """The first line, and not a byte more: what follows it is encrypted. Raises OSError."""
    line = b""
    while not line.endswith(b"\n"):
        byte = way.recv(1)
        if not byte or len(line) > 65536:
            raise OSError("what answers there is not the orchestrator")
        line += byte
    return line


def refusal(config: dict[str, Any]) -> Optional[str]:  # noqa: UP045  # Python 3.8 on machines
    """The orchestrator's word where it refuses the token, None where it takes it.

    Raises ssl.SSLCertVerificationError where it is not this cluster's, PlainError where it does not encrypt, and any
    other OSError where it is silent.
    """
    place = urlsplit(config["Compute"]["Orchestrators"][0])
    hello = {"auth_token": config["Compute"]["Auth"]["Token"], "verbose": False, "pedantic": False, "name": "shoal",
             "lang": "python", "version": "1", "protocol": 1}  # fmt: skip
    authority = config["Compute"].get("TLS", {}).get("CACert")
    with socket.create_connection((place.hostname or "", place.port or 4222), timeout=ANSWER_S) as plain:
        first = line_of(plain)
        if not first.startswith(b"INFO "):
            raise OSError("what answers there is not the orchestrator")
        if authority is None:
            return greeted(plain, hello)
        info = json.loads(first[5:])
        if not (info.get("tls_required") or info.get("tls_available")):
            raise PlainError
        with ssl.create_default_context(cafile=authority).wrap_socket(plain, server_hostname=place.hostname) as way:
            return greeted(way, hello)


def greeted(way: socket.socket, hello: dict[str, Any]) -> Optional[str]:  # noqa: UP045  # Python 3.8 on machines
    """The orchestrator's word where it refuses `hello`, None where it takes it. Raises OSError where it is silent."""
    way.sendall(b"CONNECT " + json.dumps(hello).encode() + b"\r\nPING\r\n")
    stream = way.makefile("rb")
    while line := stream.readline(65536):
        if line.startswith(b"PONG"):
            return None
        if line.startswith(b"-ERR"):
            return line[4:].decode(errors="replace").strip().strip("'")
    raise OSError("it closed the connection")


def wait(config: dict[str, Any], timeout_s: float) -> int:
    """0 once the token is taken; 1, and why on stderr, where it is refused or the time is over."""
    place = urlsplit(config["Compute"]["Orchestrators"][0]).netloc
    end = time.monotonic() + timeout_s
    while True:
        try:
            said = refusal(config)
        except ssl.SSLCertVerificationError as error:
            sys.stderr.write(STRANGER.format(place=place, said=error.verify_message) + "\n")
            return 1
        except PlainError:
            sys.stderr.write(PLAIN.format(place=place) + "\n")
            return 1
        except (OSError, ValueError) as error:
            if time.monotonic() > end:
                sys.stderr.write(SILENT.format(place=place, said=error) + "\n")
                return 1
            time.sleep(POLL_S)  # until it answers, or the time is over
            continue
        if said is not None:
            sys.stderr.write(REFUSED.format(place=place, said=said) + "\n")
            return 1
        return 0


def main(arguments: list[str]) -> int:
    """The exit code."""
    verb, config = arguments[0], settings(arguments[1])
    if verb == "wait":
        return wait(config, float(arguments[2]))
    try:
        taken = refusal(config) is None
    except (OSError, ValueError, PlainError):
        taken = False
    sys.stdout.write("taken\n" if taken else "")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
