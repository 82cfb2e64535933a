"""The comparison of `shoal cost compare` as one page in the report's style, with one picture per vendor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shoal.cost.compare import ROWS, Column, Comparison
from shoal.report.html import template_environment


@dataclass(frozen=True, slots=True)
class _Part:
    """One row's share of a bar, in per cent of the longest bar; `colour` is a number of the style sheet."""

    row: str
    colour: int
    start: float
    width: float


def render(comparisons: Sequence[Comparison], facts: Sequence[tuple[str, str]]) -> str:
    """The page. `facts` are the figures that were reckoned with, as label and value."""
    environment = template_environment()
    environment.filters.update(money=money, percent=percent)
    return environment.get_template("cost.html.j2").render(
        comparisons=comparisons,
        facts=facts,
        rows=ROWS,
        bars={one.vendor: {column: _bar(one, column) for column in one.usd} for one in comparisons},
    )


def money(usd: float) -> str:
    """`1,234.50`."""
    return f"{usd:,.2f}"


def percent(share: float | None) -> str:
    """`73.40 %`; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.2f} %"


def _bar(comparison: Comparison, column: Column) -> list[_Part]:
    longest = max(sum(rows.values()) for rows in comparison.usd.values()) or 1.0
    parts, start = [], 0.0
    for colour, row in enumerate(ROWS, start=1):
        width = 100 * comparison.usd[column][row] / longest
        if width:
            parts.append(_Part(row, colour, round(start, 3), round(width, 3)))
        start += width
    return parts
