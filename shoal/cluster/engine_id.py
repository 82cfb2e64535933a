"""The ids by which the engine knows compute nodes: none of them begins another one, as names do (`gate-1`, `gate-10`).

The engine takes an id that it is to approve or delete for the beginning of one. A name has no underscore, so the end of
an id is seen in it.
"""

from __future__ import annotations

from collections.abc import Iterable

MARK = "_node"
LONGEST = 63
"""What the engine takes in a job's constraint: the length of a Kubernetes label's value (k8s.io/apimachinery)."""


def engine_id(name: str) -> str:
    """The id of a node of that name. A name of more than 58 characters is its own id: a longer one fits nowhere."""
    made = name + MARK
    return made if len(made) <= LONGEST else name


def name_of(found: str) -> str:
    """The node's name in the cluster document. An id without the mark is a name: nodes that were deployed before ids
    had one keep theirs.
    """
    return found.removesuffix(MARK)


def either(names: Iterable[str]) -> list[str]:
    """The ids that nodes of these names may have, for a job's constraint; names first."""
    given = [name_of(name) for name in names]
    return list(dict.fromkeys([*given, *map(engine_id, given)]))
