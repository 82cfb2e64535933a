"""What Ctrl-C leaves behind, verb by verb, and how it is taken up: the last line of a command that was interrupted."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.interrupts import ReportedInterrupt

READS = frozenset({"list", "show", "status", "where", "validate", "verify", "logs", "policy", "report", "drift"})
"""Verbs, by their last word, that change nothing anywhere."""
NOTHING = "interrupted; nothing was changed"
AGAIN = "interrupted; type the command again: it goes on from what is done, and does nothing twice"
_DEPLOYS = "interrupted; the deploy was ended and machines may be half-way: type the command again, which goes on"
_CLOUD = (
    "interrupted; what was asked of the cloud may still come about: type the command again, which looks and goes on; "
    "`shoal destroy` takes everything away"
)
WORDS = {
    ("run",): "interrupted before a run was begun; no container was started",
    ("resume",): "interrupted; containers that run go on: type the command again, which adopts them",
    ("up",): _CLOUD,
    ("bootstrap",): _DEPLOYS,
    ("demo-cloud",): _CLOUD,
    ("destroy",): "interrupted; some of it is still there: type the command again until it says that nothing is left",
    ("lab", "down"): "interrupted; some of the lab is still there: type the command again",
    ("demo-down",): "interrupted; some of it is still there: type the command again",
    ("site", "deploy"): _DEPLOYS,
    ("site", "teardown"): _DEPLOYS,
    ("mesh", "on"): _DEPLOYS,
    ("mesh", "off"): _DEPLOYS,
    ("nodes", "add"): _DEPLOYS,
    ("nodes", "drain"): "interrupted; nodes that were marked get no new run: type the command again to go on, or "
    "`shoal nodes add NAME` takes one back",
    ("nodes", "remove"): "interrupted; nodes that were marked get no new run: type the command again to go on",
}


def words_for(typed: Sequence[str]) -> str:
    """The line for a command, from its words as typed."""
    verb = tuple(word for word in typed if not word.startswith("-"))
    for length in (2, 1):
        if verb[:length] in WORDS:
            return WORDS[verb[:length]]
    return NOTHING if set(verb[:2]) & READS else AGAIN


def unreported(error: BaseException) -> bool:
    """Whether `error` comes from a Ctrl-C about which nothing was printed yet."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, KeyboardInterrupt):
            return not isinstance(found, ReportedInterrupt)
        found = found.__cause__ or found.__context__
    return False
