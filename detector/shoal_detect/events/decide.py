"""Events from tracks: which objects are significant when, and the periods that come of it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_detect.events.cameras import Camera
from shoal_detect.events.rules import SEVERITIES, Rule, Rules, Zone
from shoal_detect.events.scene import Activity, Unmoved, activity
from shoal_detect.events.sightings import Seen
from shoal_detect.events.tracks import BIRTH_HITS, Track, foot, tracks

PATH_STEP_S = 1.0
GAP_S = 3.0
"""Sights of one object that lie no further apart belong to one span."""
ID_CHARS = 32

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Significant:
    """An object that is significant by a rule over a span of camera time."""

    track: Track
    rule: Rule
    zone: str | None
    first: int
    """Index of its first sight in the span."""
    last: int

    @property
    def start_s(self) -> float:
        """Of its first sight."""
        return self.track.times[self.first]

    @property
    def end_s(self) -> float:
        """Of its last sight."""
        return self.track.times[self.last]


@dataclass
class Period:
    """An event in the making."""

    start_s: float
    end_s: float
    objects: list[Significant] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is written, without clip and key frame yet."""

    document: dict[str, Any]
    key_s: float
    """Camera time at which its weightiest object is seen best."""


def events(camera: Camera, frames: Iterable[Seen], rules: Rules, privacy: str, unmoved: Unmoved) -> list[Event]:
    """The events of a camera in order. The same frames give the same events."""
    found = sorted(
        (one for track in tracks(frames) for one in significant(camera.name, track, rules, unmoved)),
        key=lambda one: (one.start_s, one.track.number, one.rule.name),
    )
    return [event_of(camera, period, privacy) for period in periods(found, rules)]


def event_of(camera: Camera, period: Period, privacy: str) -> Event:
    """The event that a period is."""
    return Event(_document(camera, period, privacy), _key_s(period))


def _key_s(period: Period) -> float:
    best = (-1, -1.0, 0.0)
    for one in period.objects:
        for index in range(one.first, one.last + 1):
            if period.start_s <= one.track.times[index] <= period.end_s:
                rank = SEVERITIES.index(one.rule.severity)
                best = max(best, (rank, one.track.confidence[index], -one.track.times[index]))
    return -best[2]


def significant(camera: str, track: Track, rules: Rules, unmoved: Unmoved) -> Iterator[Significant]:
    """The spans in which a track is significant, by every rule that it meets."""
    wanted = [rule for rule in rules.of(camera) if _meets(track, rule)]
    if not wanted:
        return
    active = activity(track, rules.still_s, unmoved, moves=any(rule.moving for rule in wanted))
    feet = foot(np.array(track.boxes))
    for rule in wanted:
        zones = rules.zones_of(rule, camera)
        if rule.zones and not zones:
            continue
        for zone in zones or (None,):
            counts = _counts(track, rule, zone, active, feet)
            for first, last in _spans(track, counts):
                if track.times[last] - track.times[first] >= rule.least_s:
                    yield Significant(track, rule, None if zone is None else zone.name, first, last)


def _meets(track: Track, rule: Rule) -> bool:
    if track.class_name not in rule.classes:
        return False
    past = track.past
    confidence = [*track.confidence, *(past.surest if past else ())]
    sure = sum(one >= rule.confidence for one in confidence)
    tall = max(past.tall if past else 0.0, *(float(box[3] - box[1]) for box in track.boxes))
    sights = len(track.times) + (past.sights if past else 0)
    return sure >= min(BIRTH_HITS, sights) and tall >= rule.least_size


def _counts(track: Track, rule: Rule, zone: Zone | None, active: Activity, feet: FloatArray) -> BoolArray:
    """Of every sight, whether it counts."""
    awake = active.moved if rule.moving else active.awake
    if zone is None:
        return awake
    times = np.array(track.times)
    inside = within(feet, zone.points)
    if rule.loitering_s is not None:
        # What stays counts while it stands, too; what was never seen to come does not, where only moving things count.
        return _long_stays(times, inside, rule.loitering_s) & (active.moved.any() or not rule.moving)
    if rule.dwell_s:
        steps = np.diff(times, prepend=times[0])
        stayed = np.cumsum(np.where(inside & np.roll(inside, 1) & (steps <= GAP_S), steps, 0.0))
        inside &= stayed >= rule.dwell_s
    counts: BoolArray = inside & awake
    return counts


def _long_stays(times: FloatArray, inside: BoolArray, least_s: float) -> BoolArray:
    """Sights in stays of at least `least_s`, from the moment at which the stay is so long."""
    long = np.zeros(len(times), dtype=bool)
    entered: float | None = None
    for index, (time_s, here) in enumerate(zip(times, inside, strict=True)):
        if not here:
            entered = None
            continue
        entered = time_s if entered is None else entered
        long[index] = time_s - entered >= least_s
    return long


def _spans(track: Track, counts: BoolArray) -> Iterator[tuple[int, int]]:
    """First and last index of sights that count and lie close together."""
    indexes = np.flatnonzero(counts)
    if not len(indexes):
        return
    breaks = np.flatnonzero(np.diff(np.array(track.times)[indexes]) > GAP_S)
    firsts, lasts = [0, *(breaks + 1)], [*breaks, len(indexes) - 1]
    for first, last in zip(firsts, lasts, strict=True):
        yield int(indexes[first]), int(indexes[last])


def within(points: FloatArray, polygon: Sequence[tuple[float, float]]) -> BoolArray:
    """Which points [n, 2] lie inside a polygon: those from which a ray to the right crosses its edge an odd number of
    times (W. R. Franklin's PNPOLY)."""
    inside = np.zeros(len(points), dtype=bool)
    corners = np.array(polygon)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, 1, axis=0), strict=True):
        if y1 == y2:
            continue
        crosses = (y1 > points[:, 1]) != (y2 > points[:, 1])
        inside ^= crosses & (points[:, 0] < (x2 - x1) * (points[:, 1] - y1) / (y2 - y1) + x1)
    return inside


def periods(found: Sequence[Significant], rules: Rules) -> list[Period]:
    """Spans of one camera that lie no further apart than the quiet time make a period; what lasts too long goes on in
    another. `found` is in order of time."""
    return [piece for period in joined(found, rules) for piece in cut(period, rules.longest_s)]


def joined(found: Iterable[Significant], rules: Rules, before: Period | None = None) -> list[Period]:
    """Spans, in order of time, as periods that are not cut yet. `before` is one that goes on."""
    made = [] if before is None else [before]
    for one in found:
        if made and one.start_s - made[-1].end_s < rules.quiet_s:
            made[-1].end_s = max(made[-1].end_s, one.end_s)
        else:
            made.append(Period(one.start_s, one.end_s))
        made[-1].objects.append(one)
    return made


def cut(period: Period, longest_s: float) -> Iterator[Period]:
    """A period in pieces of at most that length."""
    start_s = period.start_s
    while period.end_s - start_s > longest_s:
        yield from _piece(period, start_s, round(start_s + longest_s, 3))
        start_s = round(start_s + longest_s, 3)
    yield from _piece(period, start_s, period.end_s)


def _piece(period: Period, start_s: float, end_s: float) -> Iterator[Period]:
    objects = [one for one in period.objects if one.start_s <= end_s and one.end_s >= start_s]
    if objects:
        begins = max(start_s, min(one.start_s for one in objects))
        yield Period(begins, min(end_s, max(one.end_s for one in objects)), objects)


def _document(camera: Camera, period: Period, privacy: str) -> dict[str, Any]:
    weight = max(SEVERITIES.index(one.rule.severity) for one in period.objects)
    objects = _objects(period)
    leading = next(one for one in objects if one["severity"] == SEVERITIES[weight])
    what = {
        "version": 1,
        "camera": camera.name,
        "start_utc": camera.utc(period.start_s),
        "end_utc": camera.utc(period.end_s),
        "start_s": round(period.start_s, 3),
        "end_s": round(period.end_s, 3),
        "severity": SEVERITIES[weight],
        "rule": leading["rule"],
        "reason": _reason(period, weight),
        "privacy": privacy,
        "objects": objects,
    }
    text = json.dumps(what, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    files = [
        part.summary["video"] for part in camera.parts if part.offset_s <= period.end_s and part.end_s > period.start_s
    ]
    return {
        "version": 1,
        "id": hashlib.sha256(text.encode()).hexdigest()[:ID_CHARS],
        "camera": camera.name,
        "videos": files,
        **{name: what[name] for name in what if name not in {"version", "camera"}},
        "key_frame": None,
        "clip": None,
    }


def _objects(period: Period) -> list[dict[str, Any]]:
    """Each track once: by its weightiest rule, from its first significant sight to its last in the period."""
    by_track: dict[int, list[Significant]] = {}
    for one in period.objects:
        by_track.setdefault(one.track.number, []).append(one)
    made = []
    for number, spans in by_track.items():
        first = min(spans, key=lambda one: -SEVERITIES.index(one.rule.severity))
        made.append(_object(number, first.track, first.rule, spans, period))
    return sorted(made, key=lambda one: (one["start_s"], one["track"]))


def _object(number: int, track: Track, rule: Rule, spans: list[Significant], period: Period) -> dict[str, Any]:
    inside = [
        index
        for index in range(min(one.first for one in spans), max(one.last for one in spans) + 1)
        if period.start_s <= track.times[index] <= period.end_s
    ] or [min(one.first for one in spans)]
    best = max(inside, key=lambda index: (track.confidence[index], -index))
    return {
        "track": number,
        "class": track.class_name,
        "confidence": round(track.confidence[best], 4),
        "severity": rule.severity,
        "rule": rule.name,
        "start_s": track.times[inside[0]],
        "end_s": track.times[inside[-1]],
        "box": [_fraction(edge) for edge in track.boxes[best]],
        "path": list(_path(track, inside)),
    }


def _path(track: Track, inside: Sequence[int]) -> Iterator[list[float]]:
    last_s = -PATH_STEP_S
    for index in inside:
        time_s = track.times[index]
        if time_s - last_s >= PATH_STEP_S or index == inside[-1]:
            last_s = time_s
            x, y = foot(track.boxes[index])
            yield [time_s, _fraction(x), _fraction(y)]


def _fraction(value: float) -> float:
    return round(min(1.0, max(0.0, float(value))), 4)


def _counted(number: int, name: str) -> str:
    """A number of things in words.

    >>> _counted(2, "person"), _counted(1, "car"), _counted(3, "bus")
    ('2 people', '1 car', '3 buses')
    """
    plurals = {"person": "people", "bus": "buses"}
    return f"{number} {name if number == 1 else plurals.get(name, name + 's')}"


def _reason(period: Period, weight: int) -> str:
    """Why, for people: what counts most first."""
    said: dict[tuple[int, str, str | None], Counter[str]] = {}
    done = set()
    for one in period.objects:
        rank = SEVERITIES.index(one.rule.severity)
        key = (weight - rank, one.rule.name, one.zone)
        if (one.track.number, key) not in done:
            done.add((one.track.number, key))
            said.setdefault(key, Counter())[one.track.class_name] += 1
    words = []
    for (_, rule, zone), counts in sorted(said.items(), key=lambda item: (item[0][0], item[0][1], item[0][2] or "")):
        things = ", ".join(_counted(number, name) for name, number in sorted(counts.items()))
        words.append(f"{things} (rule {rule}{f' in zone {zone}' if zone else ''})")
    return "; ".join(words)
