"""Figures with their units, and names that cannot do anything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shoal.report import formats as words
from shoal.results.record import Outcome


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (59.96, "1 min 00 s"),
        (118, "1 min 58 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_960, "1.0 MB"),
        (7_200_000, "7.2 MB"),
        (5 * 10**15, "5,000.0 TB"),
    ],
)
def test_size(size_bytes: int, text: str) -> None:
    assert words.size(size_bytes) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "$0.00"), (1234.5, "$1,234.50"), (0.0675, "$0.068"), (0.00031, "$0.00031")]
)
def test_usd(amount: float, text: str) -> None:
    assert words.usd(amount) == text


@pytest.mark.parametrize(
    ("part", "text"), [(0, "0.0 %"), (0.0002, "under 0.1 %"), (0.339, "33.9 %"), (12.5, "1,250.0 %")]
)
def test_share(part: float, text: str) -> None:
    assert words.share(part) == text


@pytest.mark.parametrize(("price", "text"), [(0.0675, "$0.0675/h"), (1.5, "$1.50/h"), (0, "$0.00/h")])
def test_price_is_not_rounded(price: float, text: str) -> None:
    assert words.price(price) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (9.9, "0:09"), (750, "12:30"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert words.clock(seconds) == text


def test_moments_are_utc() -> None:
    east = datetime(2026, 1, 2, 3, 0, tzinfo=timezone(timedelta(hours=2)))
    assert words.moment(east) == "2026-01-02 01:00:00 UTC"
    assert words.iso(datetime(2026, 1, 2, 3)) == "2026-01-02T03:00:00+00:00"
    assert words.utc(datetime(2026, 1, 2)).tzinfo is UTC


def test_every_outcome_has_words() -> None:
    assert set(words.OUTCOMES) == set(Outcome)


def test_listing_says_how_many_are_left_out() -> None:
    assert words.listing(["a", "b", "c", "d"]) == "a, b, c and 1 more"
