"""Every rule over every machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date

from shoal.check.facts import Facts
from shoal.check.finding import Finding
from shoal.check.plan import NodePlan
from shoal.check.rules import docker, login, network, space, system, videos

AS_USER: tuple[Callable[[Facts, NodePlan], Iterator[Finding]], ...] = (login.shell, login.sudo, system.clock)
"""Rules that need nothing but the login."""
AS_ROOT: tuple[Callable[[Facts, NodePlan], Iterator[Finding]], ...] = (
    login.umask,
    system.architecture,
    system.init,
    system.kernel,
    system.memory_limit,
    system.time_daemon,
    system.packages,
    system.apt,
    system.journal,
    space.space,
    space.writable,
    docker.engine,
    docker.use,
    docker.newcomer,
    docker.proxy,
    network.ports,
    network.closed_by_us,
    network.peer_address,
    network.names_of_requester,
    videos.videos,
)


def of_machine(facts: Facts, plan: NodePlan, today: date) -> Iterator[Finding]:
    """All that is found on one machine. Where the look did not become root, that is the finding."""
    for rule in AS_USER:
        yield from rule(facts, plan)
    if facts.login.is_root:
        yield from system.release(facts, plan, today)
        for rule in AS_ROOT:
            yield from rule(facts, plan)


def together(facts: Mapping[str, Facts], plans: Mapping[str, NodePlan]) -> Iterator[Finding]:
    """What is found by comparing machines."""
    yield from system.clocks_together(dict(facts), dict(plans))
    yield from network.twins(facts, plans)
