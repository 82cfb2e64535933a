"""How the findings of a look at machines are shown: as lines for a person, and as a document for a script."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from shoal.check.examine import Report
from shoal.check.finding import CONSENTS, Finding, Level
from shoal.cli.console import out
from shoal.errors import UsageError

YesTo = Annotated[
    list[str] | None,
    typer.Option(
        "--yes-to",
        metavar="NAME",
        help=f"Agree to what touches the owner's things, by its name: {', '.join(CONSENTS)}. Repeatable.",
    ),
]

_HEADS = {
    Level.REFUSAL: "in the way",
    Level.CONSENT: "needs an agreement (--yes-to NAME)",
    Level.WARNING: "to know",
    Level.NOTE: "seen",
}


def agreed_names(given: list[str] | None) -> tuple[str, ...]:
    """The names after `--yes-to`. Raises UsageError where one is no consent's."""
    if wrong := [name for name in given or () if name not in CONSENTS]:
        there = "; ".join(f"{name} ({what})" for name, what in CONSENTS.items())
        raise UsageError(f"--yes-to {', '.join(wrong)}: there is no such agreement", hint=f"there are {there}")
    return tuple(given or ())


def show(report: Report) -> None:
    """All findings on standard output, the weightiest first."""
    for level, head in _HEADS.items():
        entries = [entry for entry in report.findings if entry.level is level]
        if not entries:
            continue
        out.print(f"{head}:", markup=False, highlight=False)
        width = max(len(_place(entry)) for entry in entries)
        for entry in entries:
            _line(entry, width)
    out.print(summary(report), markup=False, highlight=False)


def summary(report: Report) -> str:
    """One line on the whole."""
    counts = {level: sum(entry.level is level for entry in report.findings) for level in Level}
    if report.in_the_way:
        what = f"a deploy would not be begun: {counts[Level.REFUSAL]} in the way, {counts[Level.CONSENT]} to agree to"
    else:
        what = "a deploy may begin"
    return f"{report.cluster}: {len(report.nodes)} machine(s), {what}; {counts[Level.WARNING]} to know"


def as_document(report: Report) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "cluster": report.cluster,
        "may_deploy": not report.in_the_way,
        "machines": {
            name: {
                "answered": name in report.facts,
                "release": report.facts[name].release.get("PRETTY_NAME", "") if name in report.facts else None,
                "architecture": report.facts[name].dpkg_arch if name in report.facts else None,
                "host_name": report.facts[name].hostname if name in report.facts else None,
                "clock_offset_s": _rounded(report.facts[name].clock_offset_s) if name in report.facts else None,
            }
            for name in report.nodes
        },
        "findings": [
            {
                "machine": entry.node or None,
                "topic": entry.topic,
                "level": entry.level.value,
                "what": entry.what,
                "what_to_do": entry.todo or None,
                "consent": entry.consent,
            }
            for entry in report.findings
        ],
    }


def _place(entry: Finding) -> str:
    return entry.node or "all"


def _line(entry: Finding, width: int) -> None:
    consent = f" [{entry.consent}]" if entry.level is Level.CONSENT else ""
    out.print(f"  {_place(entry):{width}}  {entry.topic}: {entry.what}{consent}", markup=False, highlight=False)
    if entry.todo:
        out.print(f"  {'':{width}}    what to do: {entry.todo}", markup=False, highlight=False)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
