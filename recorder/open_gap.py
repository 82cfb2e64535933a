"""A gap that has not ended: what is remembered of it over a kill, and what is written down when film comes again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from recorder import clock, files
from recorder.ledger import Gap
from recorder.settings import Settings

FILE = "now.json"


@dataclass(frozen=True)
class OpenGap:
    """Since when and why there is no film."""

    start: float
    reason: str
    detail: str = ""
    offset_s: float | None = None
    """`clock.offset_s` at its start; None where that was in another boot."""
    after: str | None = None
    """The last file before it."""

    def because(self, reason: str, detail: str) -> OpenGap:
        """The same time, for another reason."""
        return replace(self, reason=reason, detail=detail)


def gaps_of(gap: OpenGap, end: float, offset_s: float | None) -> list[Gap]:
    """What is to be written down when film begins at `end`, by a clock that may have been set since.

    Forwards: what the clock jumped over is a gap for that reason. Back: that time is there twice, and what is missing
    are the seconds that really went by before `end`.

    >>> [(one.start, one.end, one.reason) for one in gaps_of(OpenGap(1000, "camera_lost", "", 50), 4620, 3650)]
    [(1000, 4600, 'clock_changed'), (4600, 4620, 'camera_lost')]
    >>> [(one.start, one.end) for one in gaps_of(OpenGap(5000, "camera_lost", "", 3650), 1420, 50)]
    [(1400, 1420)]
    """
    step_s = 0.0 if gap.offset_s is None or offset_s is None else offset_s - gap.offset_s
    missing_s = end - gap.start - step_s
    whole = Gap(gap.start, end, gap.reason, gap.detail)
    if abs(step_s) <= clock.CHANGED_S or missing_s < 0 or (step_s > 0 and gap.reason == clock.CHANGED):
        return [whole]
    missing = Gap(round(end - missing_s, 3), end, gap.reason, gap.detail)
    if step_s < 0:
        return [missing]
    return [Gap(gap.start, missing.start, clock.CHANGED, clock.words(step_s)), missing]


def remember(settings: Settings, gap: OpenGap | None) -> None:
    """Keep it over a kill; None: there is film. Raises OSError."""
    document: dict[str, object] = {"boot": clock.boot()}
    if gap is not None:
        document.update(start=gap.start, reason=gap.reason, detail=gap.detail, after=gap.after, offset_s=gap.offset_s)
    files.write(settings.state_folder / FILE, document)


def recall(settings: Settings) -> tuple[OpenGap | None, bool]:
    """What was remembered, and whether that was in this boot."""
    document = files.read(settings.state_folder / FILE)
    same_boot = document.get("boot") == clock.boot()
    if "reason" not in document:
        return None, same_boot
    gap = OpenGap(
        start=float(document["start"]),
        reason=str(document["reason"]),
        detail=str(document.get("detail", "")),
        offset_s=document.get("offset_s") if same_boot else None,
        after=document.get("after"),
    )
    return gap, same_boot
