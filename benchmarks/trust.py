"""What it costs that nothing is believed: processor time of each step that decides, beside doing without.

    PYTHONPATH=. .venv-dev/bin/python benchmarks/trust.py

Processor time, not time on the clock, so that other work on the machine counts little. Needs no lab.
"""

from __future__ import annotations

import http.server
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from roles.bacalhau.config import policy
from roles.bacalhau.defaults import Bacalhau
from roles.bacalhau.facts import FILES
from shoal.jobs import Values, render
from shoal.paths import repository
from shoal.results.documents import Manifest, parse
from shoal.terminal import PlainConsole
from shoal.version import described

REPEAT = 15
REQUESTS = 200
FILES_OF_A_RUN = 5_000
LINES = 5_000
IMAGE = "192.0.2.10:5000/shoal/detector@sha256:" + "d" * 64


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as name:
        folder = Path(name)
        record, rules = folder / "image.json", folder / "admission.json"
        record.write_text(json.dumps({"reference": IMAGE}))
        rules.write_text(json.dumps({**json.loads(policy(Bacalhau())), "image_record": str(record)}))
        job = render("yolov5", Values("r1", 1, IMAGE, "w", "a" * 64, "1", "1GB", 60)).to_document()
        through, direct = requests(folder, rules)
        rows = [
            ("the probe, a job on a node", child_ms([*PYTHON, str(FILES / "admission.py"), str(rules)], job),
             child_ms([*PYTHON, "-c", "pass"], job), "ms"),
            ("a request to Docker through the guard", through, direct, "ms"),
            (f"a manifest of {FILES_OF_A_RUN} files read", *manifests(), "ms"),
            (f"{LINES} lines of progress printed", *lines(), "ms"),
        ]  # fmt: skip
    print(f"shoal {described(repository())}, {processor()}; medians, processor time\n")
    print("| what | here | without | difference |\n| --- | ---: | ---: | ---: |")
    for what, here, without, unit in rows:
        print(f"| {what} | {here:.2f} {unit} | {without:.2f} {unit} | {here - without:.2f} {unit} |")


PYTHON = (sys.executable, "-E", "-s", "-B")


def processor() -> str:
    """As the kernel names it."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} processors"


def child_ms(argv: list[str], job: dict[str, Any]) -> float:
    """Of a program that is given the job, from its start to its end."""
    given = json.dumps({"Job": job}).encode()

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(argv, input=given, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    return statistics.median(once() for _ in range(REPEAT))


def own_ms(act: Callable[[], object], times: int = REPEAT) -> float:
    """Of this process, a call."""

    def once() -> float:
        begun = time.process_time()
        act()
        return 1e3 * (time.process_time() - begun)

    return statistics.median(once() for _ in range(times))


class Docker(http.server.BaseHTTPRequestHandler):
    """Answers like Docker, at once."""

    def do_GET(self) -> None:
        """Every question."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Not at all."""


class Unix(http.server.ThreadingHTTPServer):
    """On a socket of the file system."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        """Without a name and port to look up."""
        self.socket.bind(self.server_address)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """With an address as a client over TCP has one."""
        way, _ = self.socket.accept()
        return way, ("client", 0)


@contextmanager
def served(server: Any) -> Any:
    """A server at work in this process."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def requests(folder: Path, rules: Path) -> tuple[float, float]:
    """A request through the guard, and one without it: client, guard and Docker together."""
    sys.path.insert(0, str(FILES))
    import docker_guard  # type: ignore[import-not-found]  # noqa: PLC0415 - placed on nodes beside its rules

    docker, guard = folder / "docker.sock", folder / "guard.sock"
    with served(Unix(str(docker), Docker)), served(docker_guard.Guard(str(rules), str(guard), str(docker))):
        return tuple(own_ms(lambda place=place: asked(place), REQUESTS) for place in (guard, docker))  # type: ignore[misc, return-value]


def asked(place: Path) -> bytes:
    """One question, the connection closed behind it, as the engine asks through the guard."""
    with socket.socket(socket.AF_UNIX) as way:
        way.connect(str(place))
        way.sendall(b"GET /v1.41/containers/abc/json HTTP/1.0\r\nHost: docker\r\n\r\n")
        answer = b""
        while chunk := way.recv(65536):
            answer += chunk
        return answer


def manifests() -> tuple[float, float]:
    """Held to bounds, and straight into the model."""
    files = [
        {"path": f"videos/v{n}/detections.jsonl", "size_bytes": n, "sha256": "a" * 64} for n in range(FILES_OF_A_RUN)
    ]
    document = {"schema_version": 1, "run": "r1", "finished_at": "now", "exit_code": 0, "files": files}
    raw = json.dumps(document).encode()
    return own_ms(lambda: parse(raw, Manifest, source="it")), own_ms(lambda: Manifest.model_validate_json(raw))


def lines() -> tuple[float, float]:
    """Through the console of every command, and through the library's."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        ours, theirs = (kind(file=nowhere, width=200, soft_wrap=True) for kind in (PlainConsole, Console))

        def printed(console: Console) -> None:
            for number in range(LINES):
                console.print(f"compute-1: video {number} of {LINES}, entrance-2026.mp4: 120 frames, 7 detections")

        return own_ms(lambda: printed(ours), 5), own_ms(lambda: printed(theirs), 5)


if __name__ == "__main__":
    main()
