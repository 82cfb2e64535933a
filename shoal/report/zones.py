"""A page that shows the zones of event rules on a picture of each camera, so that a person can see where they lie."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from shoal.errors import ShoalError
from shoal.files import FOR_ALL, PRIVATE_FILE, write_atomic
from shoal.report.html import COLOURS, template_environment
from shoal.report.model import Node, Run
from shoal.report.pictures import jpeg, jpeg_data
from shoal.results.record import run_dir


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon of the rules."""

    name: str
    points: Sequence[tuple[float, float]]
    """In fractions of the picture, from the top left corner."""
    cameras: Sequence[str] = ()
    """Patterns; none: it is a zone of every camera."""

    @property
    def svg_points(self) -> str:
        """In the form of SVG's `points`."""
        return " ".join(f"{x:g},{y:g}" for x, y in self.points)

    def belongs_to(self, camera: str) -> bool:
        """Whether it is a zone of the camera."""
        return not self.cameras or any(fnmatch.fnmatchcase(camera, pattern) for pattern in self.cameras)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A zone, and the number of its colour in the style sheet."""

    zone: Zone
    colour: int


@dataclass(frozen=True, slots=True)
class CameraZones:
    """One camera on the page."""

    node: str
    name: str
    picture: Markup | None
    """As data; None where no picture came home."""
    zones: Sequence[Drawn]


def write(run: Run, zones: Sequence[Zone], path: Path | None = None) -> Path:
    """Write the page to `path`, else among the run's results, and return where. Raises ShoalError."""
    folder = run_dir(run.run)
    target = (path or folder / "zones.html").absolute()
    try:
        # As the report's page: one that was named goes where others may read it.
        write_atomic(target, render(run, folder, zones), mode=PRIVATE_FILE if path is None else FOR_ALL)
    except OSError as error:
        raise ShoalError(
            f"the zones cannot be written to {target}: {error.strerror or error}",
            hint="name another file with --html PATH, or make room",
        ) from None
    return target


def render(run: Run, folder: Path, zones: Sequence[Zone]) -> str:
    """The page, with pictures of the run in `folder` (`runs/<run id>`)."""
    drawn = [Drawn(zone, number % COLOURS + 1) for number, zone in enumerate(zones)]
    cameras = list(cameras_of(run, folder, drawn))
    unused = [one.zone for one in drawn if not any(one in camera.zones for camera in cameras)]
    return template_environment().get_template("zones.html.j2").render(run=run, cameras=cameras, unused=unused)


def cameras_of(run: Run, folder: Path, drawn: Sequence[Drawn]) -> Iterator[CameraZones]:
    """All cameras of the run, by node and name, each with its zones."""
    for node in run.nodes:
        names = set(node.camera_videos) | {one.camera for one in node.cameras}
        for name in sorted(names):
            mine = [one for one in drawn if one.zone.belongs_to(name)]
            picture = next(filter(None, (_data(folder / path) for path in _pictures(node, name))), None)
            yield CameraZones(node.name, name, picture, mine)


def _pictures(node: Node, camera: str) -> Iterator[str]:
    """Paths of the camera's pictures: of its newest event, in which people are covered and no boxes are drawn; else key
    frames of its videos."""
    for found in node.cameras:
        if found.camera == camera:
            yield from (event.key_frame for event in reversed(found.events) if event.key_frame)
    mine = set(node.camera_videos.get(camera, ()))
    for video in node.videos:
        if video.video in mine:
            yield from (frame.path for frame in video.key_frames if frame.path)


def _data(path: Path) -> Markup | None:
    data = jpeg(path)
    return jpeg_data(data) if data else None
