"""The outbox's own age, for retention: time that went by while it was looked after.

A clock that jumps ahead by years must not drop what waits, so that a step counts as a day at most.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from outbox import disk

STEP_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Age:
    """Where it stands."""

    age_s: float = 0.0
    looked_at_s: float = 0.0


def read(root: Path) -> Age:
    """The kept age. Raises ValueError where the file is damaged."""
    document = disk.read_json(root / "age.json")
    if document is None:
        return Age()
    try:
        return Age(float(document["age_s"]), float(document["looked_at_s"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{root / 'age.json'} is damaged: {error!r}") from None


def advance(root: Path, now_s: float) -> Age:
    """Count the time since the last look, and keep it."""
    before = read(root)
    step_s = min(max(now_s - before.looked_at_s, 0.0), STEP_S) if before.looked_at_s else 0.0
    age = Age(before.age_s + step_s, now_s)
    disk.write_json(root / "age.json", {"version": 1, **asdict(age)})
    return age
