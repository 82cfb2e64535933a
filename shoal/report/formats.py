"""Figures and names as a person reads them: every number with its unit, every name safe to print."""

from __future__ import annotations

from datetime import UTC, datetime

from shoal.results.exit_codes import DetectorExit
from shoal.results.record import Outcome
from shoal.terminal import printable

OUTCOMES = {
    Outcome.PENDING: "not ended",
    Outcome.FINISHED: "finished",
    Outcome.FAULTY_VIDEOS: "finished, faulty videos",
    Outcome.NO_VIDEOS: "no videos found",
    Outcome.FAILED: "failed",
    Outcome.OUT_OF_MEMORY: "out of memory",
    Outcome.TIMED_OUT: "timed out",
    Outcome.STOPPED: "stopped on request",
    Outcome.UNREACHABLE: "unreachable",
    Outcome.DRAINED: "drained, given no run",
    Outcome.DAMAGED_RESULTS: "sent damaged results",
    Outcome.NOT_RUN: "did not run",
}
EXIT_CODES: dict[int, str] = {
    DetectorExit.DONE: "done",
    DetectorExit.USAGE: "bad usage or other settings than the run was begun with",
    DetectorExit.FAULTY_VIDEOS: "done, with faulty videos",
    DetectorExit.NO_VIDEOS: "no videos found",
    DetectorExit.WEIGHTS: "weights unusable",
    DetectorExit.STATE: "no space, or the state folder cannot be written",
    DetectorExit.INTERRUPTED: "interrupted",
    137: "killed",
    DetectorExit.TERMINATED: "ended by a signal",
}
"""The detector's own codes, and the one that a kill leaves behind."""

UNKNOWN = "unknown"


def number(value: float) -> str:
    """`12,345`; fractions with one decimal: `12.3`."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def count(value: int, singular: str, plural: str | None = None) -> str:
    """`1 video`, `12 videos`."""
    return f"{value:,} {singular if value == 1 else plural or singular + 's'}"


def duration(seconds: float | None) -> str:
    """`9.9 s`, `1 min 58 s`, `2 h 05 min`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def clock(seconds: float) -> str:
    """A position in a video: `0:09`, `12:30`, `1:02:03`."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def size(size_bytes: int) -> str:
    """Decimal units, 1 MB = 1,000,000 bytes: `812 B`, `64.2 kB`, `7.2 MB`."""
    if size_bytes < 1000:
        return count(size_bytes, "byte")
    value, units = size_bytes / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:,.1f} {units[0]}"


def rate(frames_per_s: float | None) -> str:
    """`14.2 frames/s`."""
    return UNKNOWN if frames_per_s is None else f"{frames_per_s:,.1f} frames/s"


def share(part: float) -> str:
    """A part of 1 in per cent: `33.9 %`, `under 0.1 %`."""
    return "under 0.1 %" if 0 < part < 0.0005 else f"{100 * part:,.1f} %"


def usd(amount_usd: float) -> str:
    """`$1.25`; small sums keep two significant digits: `$0.00031`."""
    if amount_usd == 0 or amount_usd >= 0.1:
        return f"${amount_usd:,.2f}"
    digits = 2
    while round(amount_usd, digits) < 10 ** -(digits - 1) and digits < 9:
        digits += 1
    return f"${amount_usd:.{digits}f}"


def price(usd_per_hour: float) -> str:
    """As it was given, not rounded: `$0.0675/h`."""
    return f"${usd_per_hour:,.2f}/h" if round(usd_per_hour, 2) == usd_per_hour else f"${usd_per_hour:,}/h"


def moment(value: datetime | None) -> str:
    """`2026-11-25 09:30:12 UTC`."""
    return UNKNOWN if value is None else f"{utc(value):%Y-%m-%d %H:%M:%S} UTC"


def iso(value: datetime) -> str:
    """The same for machines."""
    return utc(value).isoformat(timespec="seconds")


def exit_code(code: int | None) -> str:
    """`3 (done, with faulty videos)`."""
    if code is None:
        return "none recorded"
    return f"{code} ({EXIT_CODES[code]})" if code in EXIT_CODES else str(code)


def listing(names: list[str], limit: int = 3) -> str:
    """`a, b, c and 4 more`."""
    shown = ", ".join(printable(name) for name in names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def seconds_between(begun: datetime, ended: datetime | None) -> float | None:
    """How long it took; None where it has no end, or one before its beginning: the clock was set back meanwhile."""
    if ended is None:
        return None
    length_s = (utc(ended) - utc(begun)).total_seconds()
    return length_s if length_s >= 0 else None


def utc(value: datetime) -> datetime:
    """The moment in UTC; one without a zone is taken for UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
