"""What a run was asked to do, and the part of it that must not change while the run is not finished."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from shoal_detect.errors import DetectorError, Exit
from shoal_detect.model.classes import NAMES
from shoal_detect.model.precision import AUTO, Precision
from shoal_detect.read.archive import Wanted

SCHEMA_VERSION = 1
OLDER: dict[str, object] = {"precision": AUTO, "reuse": "off", "since": None, "cameras": None}
"""What stands for knobs that an older detector did not have; it computed in float32, see `precision_of`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The arguments, checked."""

    input: str
    """The input folder; a str, as its name may hold bytes that are not UTF-8."""
    state: Path
    run: str
    weights: Path
    weights_name: str
    weights_sha256: str | None
    conf: float
    iou: float
    classes: tuple[int, ...] | None
    """Class ids; None for all."""
    img: int
    """Longer side of the model's input, in pixels."""
    stride: int
    """Every how many frames one is inferred."""
    key_frames: int
    threads: int
    max_det: int
    """Most detections a frame."""
    privacy: str = "people"
    """What is covered in every picture that is made: `people`, `people-and-vehicles` or `off`."""
    clips: str | None = None
    """Why no clips of events are made; None: they are."""
    precision: str = AUTO
    """As asked for: float32, bfloat16 or auto."""
    reuse: bool = False
    """Whether boxes are carried over frames, or parts of them, in which nothing changed."""
    wanted: Wanted = field(default_factory=Wanted)
    """Which of the footage is looked at."""

    def knobs(self) -> dict[str, object]:
        """The knobs that change the results, for people and reports."""
        return {
            "conf": self.conf,
            "iou": self.iou,
            "classes": None if self.classes is None else [NAMES[i] for i in self.classes],
            "img": self.img,
            "stride": self.stride,
            "key_frames": self.key_frames,
            "max_det": self.max_det,
            "privacy": self.privacy,
            "precision": self.precision,
            "reuse": "on" if self.reuse else "off",
            "since": None if self.wanted.since is None else self.wanted.since.isoformat(timespec="seconds"),
            "cameras": None if self.wanted.cameras is None else list(self.wanted.cameras),
        }


def fingerprint(settings: Settings, weights_sha256: str) -> dict[str, object]:
    """What must be the same when a run is taken up again: results of different settings are never mixed."""
    knobs = settings.knobs()
    return {
        "schema_version": SCHEMA_VERSION,
        "run": settings.run,
        "weights_sha256": weights_sha256,
        **{name: knobs[name] for name in knobs if name != "key_frames"},
        "max_frames_kept": settings.key_frames,
    }


def precision_of(begun_with: dict[str, object]) -> Precision:
    """In which precision a run was begun; it goes on so, on whatever processor. Raises DetectorError(USAGE)."""
    choice = begun_with.get("precision_choice", {"used": Precision.FLOAT32})
    try:
        return Precision(choice["used"])  # type: ignore[index]  # a damaged document is refused just below
    except (KeyError, TypeError, ValueError):
        raise DetectorError("settings.json of the run is damaged; use another run id", Exit.USAGE) from None


def refuse_other_settings(begun_with: dict[str, object], now: dict[str, object]) -> None:
    """Raise DetectorError(USAGE) that names every difference."""
    before = {**OLDER, **begun_with}
    differences = [
        f"{name} was {before.get(name)!r}, is {now[name]!r}" for name in now if before.get(name) != now[name]
    ]
    if differences:
        raise DetectorError(
            "the state folder holds a run begun with other settings: "
            + "; ".join(differences)
            + " (use the same settings, or another run id and state folder)",
            Exit.USAGE,
        )
