"""Renders the report as one self-contained HTML page: no script, no request, pictures inside."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from shoal import __version__
from shoal.report import formats as words
from shoal.report.model import Run, State, Verification, Video
from shoal.report.pictures import jpeg, jpeg_data
from shoal.report.timeline import timeline
from shoal.terminal import printable

TEMPLATES = Path(__file__).with_name("templates")
DEFAULT_IMAGES_MAX_BYTES = 20_000_000
"""Size of all pictures as they stand in the page; keeps it small enough for a phone and for mail."""
COLOURS = 7
"""Classes with a colour of their own (`--c1` to `--c7` in the style sheet); the others share `--c8`."""
PROBLEMS_SHOWN = 12


DEFAULT_CLIPS_MAX_BYTES = 40_000_000
"""Size of all clips as they stand in the page; the others lie beside it and are linked."""


@dataclass(slots=True)
class Images:
    """The pictures that go into the page, by their path in the run's folder, and those that do not fit."""

    embedded: dict[str, Markup] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    unusable: set[str] = field(default_factory=set)
    size_bytes: int = 0


def render(run: Run, folder: Path, *, images_max_bytes: int = DEFAULT_IMAGES_MAX_BYTES) -> str:
    """The page of `run`; `folder` is `runs/<run id>`, where its pictures are."""
    colours = class_colours(run.totals.counts)
    environment = template_environment()
    environment.filters.update(
        clock=words.clock,
        count=words.count,
        duration=words.duration,
        exit_code=words.exit_code,
        iso=words.iso,
        moment=words.moment,
        number=words.number,
        price=words.price,
        rate=words.rate,
        share=words.share,
        size=words.size,
        usd=words.usd,
    )
    return environment.get_template("report.html.j2").render(
        run=run,
        images=choose_images(run, folder, images_max_bytes),
        clips=choose_clips(run, folder, min(DEFAULT_CLIPS_MAX_BYTES, 2 * images_max_bytes)),
        posters=posters(run, folder, images_max_bytes),
        images_max_bytes=images_max_bytes,
        timeline=lambda video: timeline(video, colours, COLOURS + 1),
        colour=lambda name: colours.get(name, COLOURS + 1),
        setting=_setting,
        job=_preformatted(run.job),
        shares=_shares(run),
        problems_shown=PROBLEMS_SHOWN,
        State=State,
        Verification=Verification,
        markup=Markup,
    )


def template_environment() -> Environment:
    """Where a page's template is rendered: the style sheet, its hash and the version are there for all of them."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Escaping keeps names from being markup; this keeps them from turning text around or hiding in it.
        finalize=_printable,
    )
    environment.globals.update(
        style=Markup(style),  # noqa: S704 - a file of this package
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        version=__version__,
    )
    return environment


def class_colours(counts: Mapping[str, int]) -> dict[str, int]:
    """Colour numbers from 1 for the most frequent classes of the run, so that a class looks the same everywhere."""
    return {name: index for index, name in enumerate(itertools.islice(counts, COLOURS), start=1)}


def choose_images(run: Run, folder: Path, max_bytes: int) -> Images:
    """Reads key frames until `max_bytes` are spent: the first of every video, then the second, and so on."""
    images = Images()
    queues: list[list[str]] = [
        [frame.path for frame in _by_interest(video) if frame.path] for node in run.nodes for video in node.videos
    ]
    for path in filter(None, itertools.chain.from_iterable(itertools.zip_longest(*queues))):
        data = jpeg(folder / path)
        uri = jpeg_data(data) if data else None
        if uri is None:
            images.unusable.add(path)
            continue
        if images.size_bytes + len(uri) > max_bytes:
            images.left_out.add(path)
            continue
        images.size_bytes += len(uri)
        images.embedded[path] = uri
    return images


def choose_clips(run: Run, folder: Path, max_bytes: int) -> dict[str, Markup]:
    """Clips as data in the page, by their path: alerts before records, as far as they fit into `max_bytes`."""
    events = [event for camera in run.cameras for event in camera.events if event.clip]
    chosen: dict[str, Markup] = {}
    left = max_bytes
    for event in sorted(events, key=lambda event: (event.severity != "alert", event.clip_bytes)):
        size_bytes = -(-event.clip_bytes // 3) * 4
        if event.clip is None or size_bytes > left:
            continue
        left -= size_bytes
        data = base64.b64encode((folder / event.clip).read_bytes()).decode("ascii")
        chosen[event.clip] = Markup("data:video/mp4;base64," + data)  # noqa: S704 - as above
    return chosen


def posters(run: Run, folder: Path, max_bytes: int) -> dict[str, Markup]:
    """The events' key frames as data in the page, by their path, until `max_bytes` are spent."""
    chosen: dict[str, Markup] = {}
    left = max_bytes
    for event in (event for camera in run.cameras for event in camera.events if event.key_frame):
        data = jpeg(folder / str(event.key_frame))
        uri = jpeg_data(data) if data else None
        if uri is not None and len(uri) <= left:
            left -= len(uri)
            chosen[str(event.key_frame)] = uri
    return chosen


def _by_interest(video: Video) -> list[Any]:
    return sorted(video.key_frames, key=lambda frame: (-frame.detections, frame.frame))


def _printable(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _preformatted(document: dict[str, Any]) -> Markup:
    """The document as YAML, line by line safe to show."""
    if not document:
        return Markup()
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    return Markup("\n").join(escape(printable(line)) for line in text.splitlines())


def _setting(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_setting(item)}" for key, item in value.items())
    return str(value)


def _shares(run: Run) -> dict[str, float]:
    """Per cent of the longer of the two bars: bytes that stayed, bytes that came home."""
    longest = max(run.totals.video_bytes, run.home_bytes, 1)
    return {
        "stayed": round(100 * run.totals.video_bytes / longest, 2),
        "home": round(100 * run.home_bytes / longest, 2),
    }
