"""What can be refused before the first change: every role's settings on every host, and the site as a whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from gevent.lock import BoundedSemaphore  # type: ignore[import-untyped]
from gevent.pool import Pool  # type: ignore[import-untyped]

from roles.common.knobs import RefusedError, cluster_of, examine, node_of
from shoal.errors import Fault

if TYPE_CHECKING:
    from pyinfra.api.host import Host
    from pyinfra.api.inventory import Inventory

Models = tuple[tuple[str, type], ...]
"""Pairs of node role (`*` for every node) and the knobs that a deploy reads for it."""
Looks = tuple[tuple[str, "Callable[[Host], list[Fault]]"], ...]
"""Pairs of node role (`*` for every node) and a role's look at a machine: what of it stands against a deploy."""
AT_ONCE = 20
_LOOKING = BoundedSemaphore()


def site(host: Host, models: Models) -> None:
    """Raise RefusedError with all faults of all hosts; found once in a run, reported to every host."""
    _refuse(_faults(host.inventory, models, whole=True))


def settings(host: Host, models: Models) -> None:
    """As `site`, for a deploy that needs no site document: faults of the roles' settings alone."""
    _refuse(_faults(host.inventory, models, whole=False))


def machines(host: Host, looks: Looks) -> None:
    """Raise RefusedError with all that stands against a deploy on all machines: each is read, and none is changed."""
    # pyinfra prepares its hosts together; the first one looks for all.
    with _LOOKING:
        found = _machine_faults(host.inventory, looks)
    _refuse(found)


@lru_cache(maxsize=4)
def _machine_faults(inventory: Inventory, looks: Looks) -> tuple[Fault, ...]:
    def of(host: Host) -> list[Fault]:
        node = node_of(host)
        return [fault for role, look in looks if role == "*" or role in node.roles for fault in look(host)]

    found = Pool(AT_ONCE).map(of, list(inventory.get_active_hosts()))
    return tuple(fault for faults in found for fault in faults)


def _refuse(faults: tuple[Fault, ...]) -> None:
    if faults:
        raise RefusedError(
            f"the deploy was not begun, nothing was changed ({len(faults)} fault{'s' if len(faults) > 1 else ''})",
            list(faults),
        )


@lru_cache(maxsize=4)
def _faults(inventory: Inventory, models: Models, *, whole: bool) -> tuple[Fault, ...]:
    faults: list[Fault] = []
    hosts = list(inventory.get_active_hosts())
    for host in hosts:
        node = node_of(host)
        for role, model in models:
            if role == "*" or role in node.roles:
                faults += examine(model, host)[1]
    if hosts and whole:
        faults += _site_faults(hosts[0])
    # The same fault of a group's setting on twenty hosts is still reported twenty times: each line names its host.
    return tuple(dict.fromkeys(faults))


def _site_faults(host: Host) -> list[Fault]:
    cluster = cluster_of(host)
    faults = []
    if not host.data.get("shoal_site"):
        faults.append(
            Fault(
                "site document",
                f"there is none for cluster {cluster.name!r}: which videos and which model go where is not known yet; "
                "run `shoal site prepare`",
            )
        )
    here = cluster.requester.arch
    others = [f"{node.name} ({node.arch})" for node in cluster.compute if node.arch != here]
    if others:
        faults.append(
            Fault(
                cluster.requester.name,
                f"is {here} and makes the image for its own kind only; not for {', '.join(others)}. Clusters of "
                "two architectures need a site each",
            )
        )
    return faults
