"""The comparison of `shoal cost compare` as one page in the report's style, with one picture per vendor."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shoal import __version__
from shoal.cost.compare import ROWS, Comparison

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class _Part:
    """One row's share of a bar, in per cent of the longest bar; `colour` is a number of the style sheet."""

    row: str
    colour: int
    start: float
    width: float


def render(comparisons: Sequence[Comparison], facts: Sequence[tuple[str, str]]) -> str:
    """The page. `facts` are the figures that were reckoned with, as label and value."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(money=money, percent=percent)
    return environment.get_template("cost.html.j2").render(
        comparisons=comparisons,
        facts=facts,
        rows=ROWS,
        bars={one.vendor: {column: _bar(one, column) for column in one.usd} for one in comparisons},
        style=Markup(style),  # noqa: S704 - a file of this package
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        version=__version__,
    )


def money(usd: float) -> str:
    """`1,234.50`."""
    return f"{usd:,.2f}"


def percent(share: float | None) -> str:
    """`73.40 %`; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.2f} %"


def _bar(comparison: Comparison, column: str) -> list[_Part]:
    longest = max(sum(rows.values()) for rows in comparison.usd.values()) or 1.0
    parts, start = [], 0.0
    for colour, row in enumerate(ROWS, start=1):
        width = 100 * next(rows[row] for name, rows in comparison.usd.items() if name == column) / longest
        if width:
            parts.append(_Part(row, colour, round(start, 3), round(width, 3)))
        start += width
    return parts
