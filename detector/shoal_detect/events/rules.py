"""Which objects make an event: the rules of the site, placed beside the footage, or the defaults below.

It is written by `shoal site prepare --events` (`shoal/site/event_rules.py`); docs/events.md explains it.
Rules that cannot be read end the run: what was asked for is unknown then.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shoal_detect.errors import DetectorError, Exit
from shoal_detect.model.classes import NAMES

FILE = ".shoal/events.json"
"""Below the videos folder, beside the privacy policy."""
SIZE_BYTES = 1 << 20
Point = tuple[float, float]
SEVERITIES = ("record", "alert")
"""The weightier later."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is significant, and how much."""

    name: str
    severity: str
    classes: tuple[str, ...]
    confidence: float = 0.5
    """At least so many sights as make a track must have it."""
    least_s: float = 0.0
    """Seen for at least so long."""
    least_size: float = 0.0
    """Height of its box at its largest, as a fraction of the picture's."""
    moving: bool = False
    """Only what has moved since it was first seen."""
    zones: tuple[str, ...] = ()
    """Its bottom centre is in one of them; empty: anywhere."""
    dwell_s: float = 0.0
    """In the zone for so long, all its stays together, before it counts."""
    loitering_s: float | None = None
    """Only what stays in the zone for so long without leaving; it then counts although it stands still."""
    cameras: tuple[str, ...] = ()
    """Patterns of camera names as of a shell; empty: all."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon in fractions of the picture, x from the left and y from the top."""

    name: str
    points: tuple[Point, ...]
    cameras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CameraFiles:
    """Which files belong to a camera, where their names do not say it."""

    name: str
    files: tuple[str, ...]
    """Patterns of paths relative to the input folder."""
    name_times: str = "utc"
    """What a time in a file's name is: `utc`, an offset such as `+02:00`, or `unknown`."""


PEOPLE = Rule("people", "alert", ("person",), confidence=0.5)
VEHICLES = Rule("vehicles", "record", ("bicycle", "car", "motorcycle", "bus", "truck"), confidence=0.5, moving=True)


@dataclass(frozen=True, slots=True)
class Rules:
    """All of it; the defaults serve a camera without rules."""

    quiet_s: float = 30.0
    """Without anything significant for so long, an event has ended."""
    roll_before_s: float = 5.0
    roll_after_s: float = 5.0
    longest_s: float = 300.0
    """What lasts longer goes on as another event."""
    still_s: float = 10.0
    """What has not moved for so long is part of the scene."""
    name_times: str = "utc"
    rules: tuple[Rule, ...] = (PEOPLE, VEHICLES)
    zones: tuple[Zone, ...] = ()
    cameras: tuple[CameraFiles, ...] = ()
    asked: Rule | None = None
    """For classes that were asked for by name: it holds for those of them that no other rule of a camera is about."""

    def of(self, camera: str) -> tuple[Rule, ...]:
        """Those that hold for a camera."""
        found = tuple(rule for rule in self.rules if matches(camera, rule.cameras))
        known = {name for rule in found for name in rule.classes}
        others = tuple(name for name in self.asked.classes if name not in known) if self.asked else ()
        return (*found, replace(self.asked, classes=others)) if self.asked and others else found

    def zones_of(self, rule: Rule, camera: str) -> tuple[Zone, ...]:
        """The zones of a rule that this camera has."""
        return tuple(zone for zone in self.zones if zone.name in rule.zones and matches(camera, zone.cameras))


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns fits, or there are none."""
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def read_rules(folder: str) -> Rules:
    """The rules beside the footage under `folder`: in it, or in the nearest folder above; else the defaults.

    Raises DetectorError(USAGE) where they are there and cannot be read, with every fault.
    """
    place = Path(os.path.realpath(folder))
    for above in (place, *place.parents):
        path = above / FILE
        if os.path.lexists(path):
            return _read(path)
    return Rules()


def _read(path: Path) -> Rules:
    try:
        with path.open("rb") as stream:
            document = json.loads(stream.read(SIZE_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from None
    reader = _Reader()
    rules = reader.rules(document)
    if reader.faults:
        raise _unreadable(path, "; ".join(reader.faults[:10]))
    return rules


def _unreadable(path: Path, why: str) -> DetectorError:
    return DetectorError(f"this node's event rules {path} cannot be read ({why}): deploy the site again", Exit.USAGE)


@dataclass
class _Reader:
    """Reads the document and collects every fault; the control side has checked it already, with better words."""

    faults: list[str] = field(default_factory=list)

    def rules(self, document: Any) -> Rules:
        """All of it."""
        if not isinstance(document, dict) or document.get("version") != 1:
            self.faults.append("it is of another version")
            return Rules()
        known = {"version", "quiet_s", "roll_before_s", "roll_after_s", "longest_s", "still_s", "name_times"}
        self._only(document, known | {"rule", "zone", "camera"}, "")
        usual = Rules()
        rules = tuple(self._rule(one, f"rule[{i}]") for i, one in enumerate(self._list(document, "rule")))
        return Rules(
            quiet_s=self._number(document, "quiet_s", usual.quiet_s),
            roll_before_s=self._number(document, "roll_before_s", usual.roll_before_s),
            roll_after_s=self._number(document, "roll_after_s", usual.roll_after_s),
            longest_s=self._number(document, "longest_s", usual.longest_s),
            still_s=self._number(document, "still_s", usual.still_s),
            name_times=self._text(document, "name_times", usual.name_times),
            rules=rules if "rule" in document else usual.rules,
            zones=tuple(self._zone(one, f"zone[{i}]") for i, one in enumerate(self._list(document, "zone"))),
            cameras=tuple(self._camera(one, f"camera[{i}]") for i, one in enumerate(self._list(document, "camera"))),
        )

    def _rule(self, one: Any, where: str) -> Rule:
        known = {"name", "severity", "classes", "confidence", "least_s", "least_size", "moving", "zones", "dwell_s"}
        one = self._only(one, known | {"loitering_s", "cameras"}, where)
        classes, severity = self._words(one, "classes"), self._text(one, "severity", "record")
        self.faults += [f"{where}: there is no class {name!r}" for name in classes if name not in NAMES]
        if severity not in SEVERITIES or not classes:
            self.faults.append(f"{where}: severity {severity!r}, classes {list(classes)}")
        loitering = one.get("loitering_s")
        return Rule(
            name=self._text(one, "name", ""),
            severity=severity,
            classes=classes,
            confidence=self._number(one, "confidence", 0.5),
            least_s=self._number(one, "least_s", 0.0),
            least_size=self._number(one, "least_size", 0.0),
            moving=one.get("moving") is True,
            zones=self._words(one, "zones"),
            dwell_s=self._number(one, "dwell_s", 0.0),
            loitering_s=None if loitering is None else self._number(one, "loitering_s", 0.0),
            cameras=self._words(one, "cameras"),
        )

    def _zone(self, one: Any, where: str) -> Zone:
        one = self._only(one, {"name", "points", "cameras"}, where)
        points = []
        for point in self._list(one, "points"):
            if isinstance(point, list) and len(point) == 2 and all(isinstance(x, int | float) for x in point):
                points.append((float(point[0]), float(point[1])))
            else:
                self.faults.append(f"{where}: {point!r} is no point")
        return Zone(self._text(one, "name", ""), tuple(points), self._words(one, "cameras"))

    def _camera(self, one: Any, where: str) -> CameraFiles:
        one = self._only(one, {"name", "files", "name_times"}, where)
        return CameraFiles(self._text(one, "name", ""), self._words(one, "files"), self._text(one, "name_times", "utc"))

    def _only(self, one: Any, known: set[str], where: str) -> dict[str, Any]:
        if not isinstance(one, dict):
            self.faults.append(f"{where}: {one!r:.40} is no table")
            return {}
        # Written by a newer shoal: what is not known here cannot be kept.
        self.faults += [f"{where}: {name!r} is not known" for name in sorted(set(one) - known)]
        return one

    def _value(self, one: dict[str, Any], name: str, usual: Any, good: Callable[[Any], bool]) -> Any:
        value = one.get(name, usual)
        if good(value):
            return value
        self.faults.append(f"{name} is {value!r:.40}")
        return usual

    def _number(self, one: dict[str, Any], name: str, usual: float) -> float:
        def good(value: Any) -> bool:
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9

        return float(self._value(one, name, usual, good))

    def _text(self, one: dict[str, Any], name: str, usual: str) -> str:
        return str(self._value(one, name, usual, lambda value: isinstance(value, str) and bool(value)))

    def _words(self, one: dict[str, Any], name: str) -> tuple[str, ...]:
        def good(value: Any) -> bool:
            return isinstance(value, list) and all(isinstance(word, str) for word in value)

        return tuple(self._value(one, name, [], good))

    def _list(self, one: dict[str, Any], name: str) -> list[Any]:
        found: list[Any] = self._value(one, name, [], lambda value: isinstance(value, list))
        return found
