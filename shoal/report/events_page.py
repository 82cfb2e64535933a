"""Events as one HTML page that opens offline and reads on a phone: no script, no request, pictures inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shoal.report.html import template_environment
from shoal.report.pictures import jpeg_data

PICTURES_MAX_BYTES = 20_000_000
"""Of all pictures as they stand in the page; what came first has them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One event."""

    when: str
    camera: str
    severity: str
    node: str
    seconds: str
    where: str
    """Where its clip is, or why there is none."""
    jpeg: bytes | None = None


def render(cluster: str, rows: Sequence[Row], *, asked: str, missing: Sequence[str] = ()) -> str:
    """The page. `asked` says in a sentence what was asked for, `missing` who did not answer."""
    spent = 0
    shown = []
    for row in rows:
        picture = jpeg_data(row.jpeg) if row.jpeg else None
        if picture is not None and spent + len(picture) > PICTURES_MAX_BYTES:
            picture = None
        spent += len(picture or "")
        fields = ("when", "camera", "severity", "node", "seconds", "where")
        shown.append({**{name: getattr(row, name) for name in fields}, "picture": picture})
    page = template_environment().get_template("events.html.j2")
    return page.render(cluster=cluster, rows=shown, asked=asked, missing=list(missing))
