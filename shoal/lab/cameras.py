"""The lab's cameras: a machine of which each service streams a film over RTSP, again and again, as it was encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from docker.models.containers import Container

from shoal.cluster.document import Camera
from shoal.errors import UsageError
from shoal.lab import services
from shoal.lab.services import FOLDER, Service
from shoal.lab.spec import CAMERAS, node_address, node_names
from shoal.lab.state import LabFacts

FIRST_PORT = 8554
TOOLS = f"{FOLDER}/tools"
PACKAGES = ("aio_rtsp_toolkit", "aio_sockets", "av", "av.libs")
"""Of the folder of tools; the last one are PyAV's libraries, which it finds beside it."""
SERVE = (
    "import sys; from asyncio import run; from aio_rtsp_toolkit.server import serve; "
    "run(serve(sys.argv[1], port=int(sys.argv[2])))"
)


def camera_names(compute: int, cameras: int) -> list[tuple[str, str]]:
    """Node and name of every camera, in order: `compute-1-a`, `compute-1-b`, ..."""
    computes = node_names(compute)[1:]
    return [(node, f"{node}-{chr(ord('a') + number)}") for node, number in product(computes, range(cameras))]


def unit(camera: str) -> str:
    """The service of a camera on the machine `cameras`: stop it, and the camera is gone."""
    return f"lab-camera-{camera}.service"


def ports(facts: LabFacts) -> dict[str, int]:
    """Where each camera answers: a port of its own, so that one can be cut off or frozen alone."""
    named = camera_names(facts.compute, facts.cameras)
    return {camera: FIRST_PORT + number for number, (_, camera) in enumerate(named)}


def of_node(facts: LabFacts, node: str) -> tuple[Camera, ...]:
    """A node's cameras, for the cluster document."""
    address, numbers = node_address(facts.subnet, CAMERAS), ports(facts)
    return tuple(
        Camera(name=camera, source=f"rtsp://{address}:{numbers[camera]}/film.mp4?play_count=0")
        for of, camera in camera_names(facts.compute, facts.cameras)
        if of == node
    )


def start(container: Container, facts: LabFacts, films: Sequence[Path], tools: Path) -> bool:
    """Have every camera stream, the films taken in turn; whether anything had to be changed. Raises ShoalError."""
    if not films:
        raise UsageError("the cameras have no film to stream")
    numbers = ports(facts)
    chosen = {camera: films[index % len(films)] for index, camera in enumerate(numbers)}
    trees = {f"{TOOLS}/{name}": tools / name for name in PACKAGES}
    trees |= {f"{FOLDER}/films/{camera}/film.mp4": film for camera, film in chosen.items()}
    running = [
        Service(
            unit(camera).removesuffix(".service"),
            f"Camera {camera}",
            f"/usr/bin/env PYTHONPATH={TOOLS} python3 -c '{SERVE}' {FOLDER}/films/{camera} {port}",
        )
        for camera, port in numbers.items()
    ]
    digests = [hashlib.sha256(film.read_bytes()).hexdigest() for film in chosen.values()]
    version = " ".join([tools.name, *digests])
    return services.furnish(container, CAMERAS, version=version, trees=trees, files=(), services=running)
