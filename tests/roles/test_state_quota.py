"""The watch over runs' folders on a node, run here against a Docker that is stood in for."""

from __future__ import annotations

import json
import runpy
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from shoal.paths import repository

PROGRAM = repository() / "roles" / "yolov5" / "files" / "state_quota.py"
ID = "5f" * 32


class Docker(socketserver.ThreadingUnixStreamServer):
    """Answers as Docker's API does, and notes what was asked."""

    daemon_threads = True

    def __init__(self, place: Path) -> None:
        super().__init__(str(place), Handler)
        self.mounts: list[dict[str, Any]] = []
        self.status = 204
        self.calls: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Docker

    def do_GET(self) -> None:
        self._send(200, json.dumps([{"Id": ID, "Mounts": self.server.mounts}]).encode())

    def do_POST(self) -> None:
        self.server.calls.append(self.path)
        self._send(self.server.status, b"")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Docker]:
    with Docker(tmp_path / "docker.sock") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "r1"
    folder.mkdir(parents=True)
    (folder / "out").write_bytes(b"x" * 300_000)
    return folder


def look(docker: Docker, run: Path, most: int) -> list[str]:
    program = runpy.run_path(str(PROGRAM))
    program["look"](str(run.parent), most, docker.server_address)
    return docker.calls


def mount(source: Path, *, writable: bool = True) -> dict[str, Any]:
    return {"Source": str(source), "Destination": "/state", "RW": writable}


def test_a_container_over_its_limit_is_ended_and_told_why(
    docker: Docker, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.mounts = [mount(Path("/videos"), writable=False), mount(run)]
    assert look(docker, run, 200_000) == [f"/containers/{ID}/kill?signal={name}" for name in ("SIGXFSZ", "SIGKILL")]
    assert f"{run} holds " in capsys.readouterr().err


@pytest.mark.parametrize("case", ["below", "read only", "elsewhere", "gone"])
def test_others_are_left_alone(docker: Docker, run: Path, case: str) -> None:
    docker.mounts = {
        "below": [mount(run)],
        "read only": [mount(run, writable=False)],
        "elsewhere": [mount(run.parent.parent)],
        "gone": [mount(run.parent / "removed")],
    }[case]
    assert look(docker, run, 1_000_000 if case == "below" else 1) == []


def test_a_container_that_ended_by_itself_is_no_fault(docker: Docker, run: Path) -> None:
    docker.mounts, docker.status = [mount(run)], 409
    assert len(look(docker, run, 1)) == 2


def test_files_without_end_are_too_many(docker: Docker, run: Path) -> None:
    program = runpy.run_path(str(PROGRAM))
    program["held"].__globals__["ENTRIES_MAX"] = 3
    for number in range(5):
        (run / str(number)).touch()
    docker.mounts = [mount(run)]
    program["look"](str(run.parent), 10**12, docker.server_address)
    assert len(docker.calls) == 2


def test_sparse_files_count_what_they_take(docker: Docker, run: Path) -> None:
    with (run / "sparse").open("wb") as file:
        file.truncate(10**9)
    docker.mounts = [mount(run)]
    assert look(docker, run, 2_000_000) == []
