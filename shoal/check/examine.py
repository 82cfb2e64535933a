"""The look at a cluster's machines: all at once, one login each, and everything found in one report."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from shoal.check import answer as answers
from shoal.check import facts as facts_of
from shoal.check import program, reach, session
from shoal.check.answer import Answer
from shoal.check.facts import Facts
from shoal.check.finding import Finding, Level, agreed, ordered, refusal
from shoal.check.plan import NodePlan, group_data, plans
from shoal.check.rules import network
from shoal.check.rules.all import of_machine, together
from shoal.cluster.document import Cluster, Node
from shoal.errors import Fault, ShoalError, UsageError
from shoal.site import document as sites
from shoal.site.document import SiteDocument
from shoal.ssh import client as ssh
from shoal.ssh.client import SshError
from shoal.ssh.failures import RemoteError, brief
from shoal.telling import Say, quiet

LOOK_LIMIT_S = 120.0
"""A slow machine with many containers took 15 s; questions that hang are given up one by one before this."""
YES_TO = "shoal_yes_to"
"""The group data that agrees to consents for good."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found on the machines."""

    cluster: str
    nodes: tuple[str, ...]
    """Machines that were to be looked at."""
    findings: tuple[Finding, ...]
    facts: Mapping[str, Facts] = field(default_factory=dict)

    @property
    def in_the_way(self) -> tuple[Finding, ...]:
        """What keeps a deploy from being begun."""
        return tuple(entry for entry in self.findings if entry.in_the_way)

    @property
    def transient(self) -> bool:
        """Whether all that is in the way is machines that do not answer now."""
        return bool(self.in_the_way) and all(entry.transient for entry in self.in_the_way)


def examine(
    cluster: Cluster,
    names: Collection[str],
    site: SiteDocument | None,
    *,
    bacalhau: bool,
    yes_to: Collection[str] = (),
    knobs: Mapping[str, Any] | None = None,
    today: date | None = None,
    say: Say = quiet,
) -> Report:
    """Look at the machines of `names`. Nothing is changed on any of them, and none keeps the others from being seen.

    `knobs` are the inventories' group data by group; read here where they are not given. Raises UsageError where the
    document or the group data cannot be used.
    """
    groups = group_data(cluster.substrate) if knobs is None else knobs
    wanted = plans(cluster, names, site, bacalhau=bacalhau, knobs=groups)
    say(f"looking at {len(wanted)} machine(s)")
    facts, findings = _look(cluster, wanted)
    day = today or datetime.now(UTC).date()
    for name, fact in facts.items():
        findings += of_machine(fact, wanted[name], day)
    findings += together(facts, wanted)
    found = reach.probe(cluster, facts, wanted)
    findings += network.reachable(facts, wanted, found, cluster.requester.name)
    kept = groups.get("all", {}).get(YES_TO, ()), groups.get(cluster.substrate, {}).get(YES_TO, ())
    given = {*yes_to, *(name for names_ in kept for name in ([names_] if isinstance(names_, str) else names_))}
    return Report(cluster.name, tuple(wanted), tuple(ordered(agreed(findings, given), list(wanted))), facts)


def before(
    cluster: Cluster, names: Collection[str], *, bacalhau: bool, yes_to: Collection[str] = (), say: Say = quiet
) -> None:
    """The look as the first step of a deploy: says what is to be known. Raises UsageError with what is in the way."""
    report = examine(cluster, names, sites.load(cluster.name), bacalhau=bacalhau, yes_to=yes_to, say=say)
    for entry in report.findings:
        if entry.level is Level.WARNING:
            say(f"  {entry.node or 'all'}: {entry.topic}: {entry.what}")
    refuse(report)


def agreement(yes_to: Sequence[str]) -> dict[str, Any]:
    """Host data that hand agreements on to the roles; without any, the group data hold."""
    return {YES_TO: list(yes_to)} if yes_to else {}


def refuse(report: Report) -> None:
    """Raise UsageError with all that is in the way, in one list."""
    if not report.in_the_way:
        return
    faults = tuple(Fault(entry.node or report.cluster, _sentence(entry)) for entry in report.in_the_way)
    consents = sorted({entry.consent for entry in report.in_the_way if entry.level is Level.CONSENT and entry.consent})
    hint = "mend what is named and type the command again"
    if consents:
        flags = " ".join(f"--yes-to {name}" for name in consents)
        hint += f"; what needs an agreement goes on with {flags}"
    if any(entry.transient for entry in report.in_the_way):
        hint += "; `--limit` leaves machines out that do not answer"
    message = f"{len(faults)} thing{'s are' if len(faults) > 1 else ' is'} in the way; nothing was changed"
    raise UsageError(message, faults=faults, hint=hint)


def _sentence(entry: Finding) -> str:
    agree = f" [--yes-to {entry.consent}]" if entry.level is Level.CONSENT else ""
    return f"{entry.topic}: {entry.what}{agree}" + (f"\n      {entry.todo}" if entry.todo else "")


def _look(cluster: Cluster, wanted: Mapping[str, NodePlan]) -> tuple[dict[str, Facts], list[Finding]]:
    nodes = [cluster.node(name) for name in wanted]
    facts: dict[str, Facts] = {}
    findings: list[Finding] = []
    for name, answer in ssh.on_each(nodes, functools.partial(_ask, cluster, wanted)).items():
        if isinstance(answer, Facts):
            facts[name] = answer
        elif isinstance(answer, SshError):
            entry = Finding(name, "ssh", Level.REFUSAL, brief(answer), answer.hint or "", transient=answer.transient)
            findings.append(entry)
        elif isinstance(answer, ShoalError):
            findings.append(
                refusal(name, "look", brief(answer), answer.hint or "see what its login shell and sudo say")
            )
    return facts, findings


def _ask(cluster: Cluster, wanted: Mapping[str, NodePlan], node: Node) -> Facts:
    """Both halves over one connection: as the login user, and as root where sudo lets it."""
    mark = program.new_mark()
    plan = wanted[node.name]
    text = program.text(plan, mark, "login").encode()
    said = session.as_user(cluster, node, program.COMMAND, text, timeout_s=LOOK_LIMIT_S)
    login, root, sudo = answers.read(said.output, mark), None, ""
    text = program.text(plan, mark, "root").encode()
    try:
        there = session.as_root(cluster, node, program.COMMAND, text, timeout_s=LOOK_LIMIT_S)
        root = answers.read(there.output, mark)
    except RemoteError as error:
        sudo = answers.printable(error.stderr)
    answer = Answer(login, root, sudo)
    return facts_of.read(answer, asked_at_s=said.asked_at_s, answered_at_s=said.answered_at_s)
