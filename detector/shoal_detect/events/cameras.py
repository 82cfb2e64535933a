"""Which files belong to one camera, in which order, and where each lies in the camera's time.

Names say it: `gate/20261130T120000Z.mp4` and its like are the camera `gate`, and so is what a recorder writes
(`cameras/gate/2026-11-30/20261130T120000Z.mp4`); numbers alone (`gate-000.mp4`, as FFmpeg's
segmenter writes them) are taken for one recording where they run without a hole. The rules can name cameras otherwise.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shoal_detect.events.rules import Rules
from shoal_detect.read.archive import recorder_camera

TIME = re.compile(
    r"(?<!\d)(20\d\d)([-_.]?)(\d\d)\2(\d\d)[T_. -]{0,3}(\d\d)[-_.:h]?(\d\d)[-_.:m]?(\d\d)(?:[.,](\d{3}))?s?"
    r"(Z|UTC|[+-]\d\d:?\d\d)?(?!\d)"
)
NUMBER = re.compile(r"^(.*?)[-_. ]?(\d{3,})$")
CONTIGUOUS_S = 2.0
"""Recorders name a segment by the second in which it was opened, and cut at the next key frame: a gap or an overlap by
the names of at most so much is none."""
SAME_S = 0.002
"""Frames whose times keep to their number by so much come at one rate; times are written in milliseconds."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a camera."""

    summary: dict[str, Any]
    """Its video_summary document."""
    offset_s: float
    """Camera time of its first frame."""
    first_frame: int
    """Frames of the same rate that came before it without a gap; its own time is then counted in frames."""
    steady: bool
    """Its frames come at one rate."""

    @property
    def end_s(self) -> float:
        """Camera time at which it ends."""
        return self.offset_s + length_s(self.summary, steady=self.steady)

    def time_s(self, frame: int, time_s: float) -> float:
        """Camera time of a frame in milliseconds: the same whether the footage is one file or many."""
        if not self.steady:
            return round(self.offset_s + time_s, 3)
        base_s = self.offset_s - self.first_frame / self.summary["fps"]
        return float(round(base_s + (self.first_frame + frame) / self.summary["fps"] + 1e-7, 3))


@dataclass(frozen=True, slots=True)
class Camera:
    """All its files of a run."""

    name: str
    parts: tuple[Part, ...]
    began: datetime | None
    """UTC of camera time 0."""

    def utc(self, time_s: float) -> str | None:
        """Camera time as UTC with milliseconds."""
        if self.began is None:
            return None
        moment = self.began + timedelta(milliseconds=round(time_s * 1000))
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class _Named:
    camera: str
    number: int
    began: datetime | None
    summary: dict[str, Any]


def cameras(summaries: Sequence[dict[str, Any]], rules: Rules, unsteady: Collection[str] = ()) -> list[Camera]:
    """The cameras by name. Videos without a frame belong to none.

    `unsteady` are ids of videos some of whose frames do not keep to the rate.
    """
    named = [_named(one, rules) for one in summaries if one["frames"] and one["duration_s"]]
    groups: dict[str, list[_Named]] = {}
    for one in _split_lone_numbers(named, rules):
        groups.setdefault(one.camera, []).append(one)
    return [_camera(name, files, unsteady) for name, files in sorted(groups.items())]


def _named(summary: dict[str, Any], rules: Rules) -> _Named:
    path = summary["video"]
    ruled = next((c for c in rules.cameras if any(fnmatch.fnmatchcase(path, p) for p in c.files)), None)
    zone = rules.name_times if ruled is None else ruled.name_times
    folder, _, name = path.rpartition("/")
    stem = name.rpartition(".")[0] or name
    found = list(TIME.finditer(stem))
    began = moment_of(found[-1], zone) if found else None
    if began is None and summary.get("recorded_at"):
        began = datetime.fromisoformat(summary["recorded_at"]).astimezone(UTC)
    number = -1
    if found:
        stem = stem[: found[-1].start()] + stem[found[-1].end() :]
    elif (numbered := NUMBER.match(stem)) is not None:
        stem, number = numbered.group(1), int(numbered.group(2))
    stem = stem.strip("-_. ")
    if (recorded := recorder_camera(folder)) is not None and not stem:
        camera = recorded
    elif folder and stem in {"", folder.rpartition("/")[2]}:
        camera = folder
    else:
        camera = f"{folder}/{stem}" if folder and stem else stem or "camera"
    return _Named(camera if ruled is None else ruled.name, number, began, summary)


def moment_of(found: re.Match[str], zone: str) -> datetime | None:
    """The time in a name as UTC; None where it is none."""
    year, _, month, day, hour, minute, second, milli, offset = found.groups()
    offset = offset or ("Z" if zone == "utc" else zone)
    if offset == "unknown":
        return None
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), int(milli or 0) * 1000, tzinfo=UTC
        )
        return moment if offset in {"Z", "UTC"} else moment - _offset(offset)
    except ValueError:
        return None


def _offset(text: str) -> timedelta:
    sign = -1 if text[0] == "-" else 1
    hours, minutes = text[1:3], text[-2:]
    return sign * timedelta(hours=int(hours), minutes=int(minutes))


def _split_lone_numbers(named: Sequence[_Named], rules: Rules) -> list[_Named]:
    """Numbered files are segments where they count from 0, or from 1 in a folder, without a hole; else cameras."""
    groups: dict[str, list[_Named]] = {}
    for one in named:
        groups.setdefault(one.camera, []).append(one)
    ruled = {one.name for one in rules.cameras}
    result = []
    for camera, files in groups.items():
        numbers = sorted(one.number for one in files)
        in_folder = all("/" in one.summary["video"] for one in files)
        runs = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        segments = runs and (numbers[0] == 0 or (numbers[0] == 1 and in_folder)) and len(numbers) > 1
        timed = all(one.began is not None for one in files)
        if segments or (timed and numbers[0] < 0) or camera in ruled:
            result += files
            continue
        # Names alone do not make one camera of them: each is its own.
        for one in files:
            path = one.summary["video"]
            own = (path.rpartition(".")[0] or path) if one.number >= 0 else path
            result.append(_Named(own if len(files) > 1 or one.number >= 0 else camera, -1, one.began, one.summary))
    return result


def _camera(name: str, files: list[_Named], unsteady: Collection[str]) -> Camera:
    timed = all(one.began is not None for one in files)
    # By their time where all have one, else as a person sorts names: numbers in them count as numbers.
    files = sorted(files, key=lambda one: ((one.began,) if timed else (), _natural(one.summary["video"])))
    began = files[0].began if timed else None
    parts: list[Part] = []
    for one in files:
        steady = is_steady(one.summary) and one.summary["video_id"] not in unsteady
        times = None if began is None or one.began is None else (began, one.began)
        parts.append(placed(one.summary, parts, times, steady=steady))
    return Camera(name, tuple(parts), began)


def placed(
    summary: dict[str, Any], before: Sequence[Part], times: tuple[datetime | None, datetime] | None, *, steady: bool
) -> Part:
    """A file after those before it. `times` are when the camera's time began, and when this file did."""
    if not before:
        return Part(summary, 0.0, 0, steady)
    last = before[-1]
    end_s = last.end_s
    if times is not None and times[0] is not None:
        gap_s = (times[1] - times[0]).total_seconds() - end_s
        if gap_s > CONTIGUOUS_S:
            return Part(summary, round(end_s + gap_s, 3), 0, steady)
    same = steady and last.steady and last.summary["fps"] == summary["fps"]
    return Part(summary, end_s, last.first_frame + last.summary["frames"] if same else 0, steady)


def length_s(summary: dict[str, Any], *, steady: bool) -> float:
    """How long a video is; of frames at one rate to the last digit."""
    return float(summary["frames"] / summary["fps"] if steady else summary["duration_s"])


def is_steady(summary: dict[str, Any]) -> bool:
    """Whether as many frames as its rate has make up its duration."""
    fps, frames = summary["fps"], summary["frames"]
    if not fps or summary.get("missing_frames") or summary.get("clock_jumps"):
        return False
    return bool(abs(frames / fps - summary["duration_s"]) <= SAME_S)


def _natural(path: str) -> tuple[tuple[int, int | str], ...]:
    words = re.split(r"(\d+)", path)
    return tuple((0, int(word)) if word.isdecimal() else (1, word) for word in words)
