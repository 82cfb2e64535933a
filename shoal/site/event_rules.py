"""Which objects make an event, as a person writes it (TOML) and as the nodes get it (JSON beside the footage).

The detector reads the same document (`detector/shoal_detect/events/rules.py`); docs/events.md explains every field.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from shoal.errors import Fault, UsageError
from shoal.jobs.classes import COCO_NAMES
from shoal.untrusted import faults_of

Name = Annotated[str, Field(min_length=1, max_length=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Patterns = tuple[Name, ...]
NAME_TIMES = re.compile(r"utc|unknown|[+-][0-2]\d:[0-5]\d")


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _checked_zone(text: str) -> str:
    if not NAME_TIMES.fullmatch(text):
        raise ValueError('is "utc", "unknown" or an offset such as "+02:00"')
    return text


class Rule(_Document):
    """What is significant, and how much."""

    name: Name
    severity: Literal["alert", "record"]
    classes: Annotated[tuple[Name, ...], Field(min_length=1)]
    confidence: Fraction = 0.5
    least_s: Seconds = 0.0
    least_size: Fraction = 0.0
    moving: bool = False
    zones: Patterns = ()
    dwell_s: Seconds = 0.0
    loitering_s: Seconds | None = None
    cameras: Patterns = ()


class Zone(_Document):
    """A polygon in fractions of the picture, from the top left corner."""

    name: Name
    points: Annotated[tuple[tuple[Fraction, Fraction], ...], Field(min_length=3)]
    cameras: Patterns = ()


class CameraFiles(_Document):
    """Which files are one camera's, where their names do not say it."""

    name: Name
    files: Annotated[tuple[Name, ...], Field(min_length=1)]
    name_times: str = "utc"

    _zone = field_validator("name_times")(_checked_zone)


class EventRules(_Document):
    """All of it; the detector's defaults hold for what is left out."""

    version: Literal[1] = 1
    quiet_s: Annotated[Seconds, Field(gt=0)] = 30.0
    roll_before_s: Seconds = 5.0
    roll_after_s: Seconds = 5.0
    longest_s: Annotated[Seconds, Field(ge=1)] = 300.0
    still_s: Annotated[Seconds, Field(gt=0)] = 10.0
    name_times: str = "utc"
    rule: tuple[Rule, ...] | None = Field(None, description="Left out: people are alerts, moving vehicles records.")
    zone: tuple[Zone, ...] = ()
    camera: tuple[CameraFiles, ...] = ()

    _zone = field_validator("name_times")(_checked_zone)


def read(path: Path) -> EventRules:
    """The rules in a TOML file. Raises UsageError with every fault in it."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the event rules {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the event rules {path} are no TOML: {error}") from None
    try:
        rules = EventRules.model_validate(raw)
    except ValidationError as error:
        raise _wrong(path, faults_of(error)) from None
    if faults := list(_faults(rules)):
        raise _wrong(path, faults)
    return rules


def _wrong(path: Path, faults: list[Fault]) -> UsageError:
    return UsageError(
        f"the event rules {path} are wrong", faults=tuple(faults), hint="docs/events.md shows every field"
    )


def _faults(rules: EventRules) -> Iterator[Fault]:
    """What no single field shows."""
    zones = {zone.name for zone in rules.zone}
    for kind, names in (("rule", [r.name for r in rules.rule or ()]), ("camera", [c.name for c in rules.camera])):
        for name, number in Counter(names).items():
            if number > 1:
                yield Fault(kind, f"the name {name!r} comes {number} times")
    for index, rule in enumerate(rules.rule or ()):
        where = f"rule[{index}]"
        for name in rule.classes:
            if name not in COCO_NAMES:
                yield Fault(f"{where}.classes", f"there is no class {name!r}")
        for name in rule.zones:
            if name not in zones:
                yield Fault(f"{where}.zones", f"there is no zone {name!r}")
        if not rule.zones and (rule.dwell_s or rule.loitering_s is not None):
            yield Fault(f"{where}", "dwell_s and loitering_s are about a zone, and it names none")
        if rule.least_s >= rules.longest_s:
            yield Fault(f"{where}.least_s", f"is not less than longest_s ({rules.longest_s:g})")
    for index, zone in enumerate(rules.zone):
        if abs(_area(zone.points)) < 1e-6:
            yield Fault(f"zone[{index}].points", "enclose nothing")


def _area(points: tuple[tuple[float, float], ...]) -> float:
    pairs = zip(points, (*points[1:], points[0]), strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs) / 2


def for_nodes(rules: EventRules) -> str:
    """The document as it is placed beside the footage."""
    return rules.model_dump_json(exclude_none=True) + "\n"
