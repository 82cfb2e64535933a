"""The watch's settings: a JSON document that the site's deploy places, and the weights beside it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from shoal_detect.errors import DetectorError, Exit

VERSION = 1
CAMERA = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Watched:
    """One camera."""

    name: str
    folder: str
    """Of its footage, below the input folder; files in it and in its subfolders."""
    keep_days: int = 0
    """How long its footage stays at most: what was found in it is remembered as long."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What the watch of one machine goes by."""

    cameras: tuple[Watched, ...]
    weights: str
    """File of the model."""
    weights_name: str
    weights_sha256: str
    conf: float = 0.35
    iou: float = 0.45
    img: int = 640
    stride: int = 1
    """Every how many frames one is inferred, as long as the machine keeps up."""
    stride_most: int = 8
    """What it may come to before footage is left lying: what gives way first."""
    reuse: bool = True
    privacy: str = "people"
    behind_s: float = 180.0
    """A camera whose footage has lain longer than this is behind: its newest is looked at first, for alerts."""
    look_back_s: float = 3600.0
    """At its very first start the watch takes up footage of the last so many seconds."""
    keep_events_days: int = 30
    processes: int | None = None
    """How many work at once; None: as many as there are processors."""
    precision: str = field(default="auto")


def load(path: Path) -> Watch:
    """The settings in a file. Raises DetectorError(USAGE) with every fault."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DetectorError(f"{path} cannot be read: {error}", Exit.USAGE) from None
    return parsed(document, str(path))


def parsed(document: Any, source: str) -> Watch:
    """Settings of their document. Raises DetectorError(USAGE) with every fault."""
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise DetectorError(f"{source}: not settings of version {VERSION}", Exit.USAGE)
    given = {name: value for name, value in document.items() if name != "version"}
    faults = [f"no such setting: {name}" for name in sorted(set(given) - {one.name for one in fields(Watch)})]
    try:
        given["cameras"] = tuple(Watched(**one) for one in given.get("cameras", ()))
        watch = Watch(**{name: value for name, value in given.items() if not faults})
    except TypeError as error:
        raise DetectorError(f"{source}: {'; '.join([*faults, str(error)])}", Exit.USAGE) from None
    names = [one.name for one in watch.cameras]
    faults += [f"cameras: {name!r} is no name" for name in names if not CAMERA.fullmatch(name)]
    faults += [f"cameras: the name {name!r} comes twice" for name in sorted({n for n in names if names.count(n) > 1})]
    faults += [] if watch.cameras else ["cameras: there is none"]
    faults += [
        f"cameras: {one.folder!r} is no folder below the input folder"
        for one in watch.cameras
        if one.folder.startswith("/") or ".." in one.folder.split("/")
    ]
    faults += [
        f"cameras: keep_days of {one.name!r} is no number of days"
        for one in watch.cameras
        if isinstance(one.keep_days, bool) or not isinstance(one.keep_days, int) or one.keep_days < 0
    ]
    if not 1 <= watch.stride <= watch.stride_most:
        faults.append("stride: must be from 1 to stride_most")
    if faults:
        raise DetectorError(f"{source}: {'; '.join(faults)}", Exit.USAGE)
    return watch
