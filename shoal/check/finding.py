"""One thing that was found on a machine, how much it weighs, and what its owner has to agree to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding weighs."""

    REFUSAL = "refusal"
    """A deploy would fail or break something; it is not begun."""
    CONSENT = "consent"
    """Something of the owner's would be touched, or a limit would not hold; it needs `--yes-to`."""
    WARNING = "warning"
    NOTE = "note"


CONSENTS: dict[str, str] = {
    "apt-upgrade": "packages of the owner's are upgraded where what is installed needs newer ones",
    "bridge-traffic": "a new Docker engine filters what the machine's own bridges forward",
    "docker-restart": "the owner's Docker engine is restarted although that ends containers of the owner's",
    "end-of-life": "the release gets no security updates any more",
    "former-docker": "a new Docker engine takes over the data that a former one left",
    "journal": "the machine's journal is cut to a limit, older entries go",
    "no-memory-limit": "jobs run without a memory limit",
}
"""Names for `--yes-to` and for the group data `shoal_yes_to`, and what each agrees to."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, where, and what to do about it."""

    node: str
    topic: str
    level: Level
    what: str
    todo: str = ""
    consent: str | None = None
    """Name of the consent that this needs (CONSENTS), where `level` is CONSENT, or that it has been given."""
    transient: bool = False
    """Whether it may be gone a little later without anybody's doing."""

    @property
    def in_the_way(self) -> bool:
        """Whether a deploy is not begun because of it."""
        return self.level in (Level.REFUSAL, Level.CONSENT)


def refusal(node: str, topic: str, what: str, todo: str) -> Finding:
    """A finding that keeps a deploy from being begun."""
    return Finding(node, topic, Level.REFUSAL, what, todo)


def consent(node: str, topic: str, what: str, name: str, todo: str = "") -> Finding:
    """A finding that the owner has to agree to; `name` is one of CONSENTS."""
    return Finding(node, topic, Level.CONSENT, what, todo, name)


def warning(node: str, topic: str, what: str, todo: str = "") -> Finding:
    """A finding that a person should know of."""
    return Finding(node, topic, Level.WARNING, what, todo)


def note(node: str, topic: str, what: str) -> Finding:
    """How something is, without anything to be done about it."""
    return Finding(node, topic, Level.NOTE, what)


def agreed(findings: Iterable[Finding], yes_to: Collection[str]) -> list[Finding]:
    """The findings, those that were agreed to as warnings."""
    return [
        Finding(entry.node, entry.topic, Level.WARNING, f"{entry.what} (agreed to)", "", entry.consent)
        if entry.level is Level.CONSENT and entry.consent in yes_to
        else entry
        for entry in findings
    ]


_ORDER = list(Level)


def ordered(findings: Iterable[Finding], nodes: Collection[str]) -> list[Finding]:
    """Once each; the weightiest first, then by machine in the order of `nodes`."""
    place = {name: number for number, name in enumerate(nodes)}
    return sorted(
        dict.fromkeys(findings), key=lambda entry: (_ORDER.index(entry.level), place.get(entry.node, -1), entry.topic)
    )
