"""Which cluster a command is about: decided here alone, for every verb, recipe and inventory, and named in one line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from shoal.cluster import load, onprem, owners
from shoal.cluster.document import Cluster, Substrate
from shoal.errors import UsageError
from shoal.paths import cluster_document, expanded

CLUSTER_VARIABLE = "SHOAL_CLUSTER"
LAB_VARIABLE = "SHOAL_LAB"
ONPREM_VARIABLE = "SHOAL_ONPREM"
DEFAULT_LAB = "lab"
SUBSTRATES: tuple[Substrate, ...] = get_args(Substrate)


@dataclass(frozen=True, slots=True)
class Choice:
    """The document a command reads, and what named it."""

    path: Path
    by: str
    """For the reader: an option, a variable or a default."""
    substrate: Substrate | None = None
    """What the command line says the cluster is, where it says so."""
    run_of: str | None = None
    """The cluster's name in the record of the run that the command is about."""


def lab_name(given: str | None = None) -> tuple[str, str]:
    """The lab a command is about, and what named it: the option, else `SHOAL_LAB`, else the default."""
    if given:
        return given, "--name"
    if name := os.environ.get(LAB_VARIABLE):
        return name, LAB_VARIABLE
    return DEFAULT_LAB, "the default"


def choose(
    given: Path | None = None,
    *,
    substrate: Substrate | None = None,
    named: tuple[str, str] | None = None,
    run_of: str | None = None,
) -> Choice:
    """The document of a command line.

    In this order: `given` (`--cluster`), `named` (a lab's or stack's name and the option that gave it),
    `SHOAL_CLUSTER`, the cluster of the run (`run_of`), the substrate's own, the lab that `SHOAL_LAB` names, the
    default lab.
    """
    if given:
        path, by = expanded(given), "--cluster"
    elif named:
        path, by = cluster_document(named[0]), named[1]
    elif variable := os.environ.get(CLUSTER_VARIABLE):
        path, by = expanded(Path(variable)), CLUSTER_VARIABLE
    elif run_of:
        path, by = owners.document_of(run_of) or cluster_document(run_of), "the run's record"
    elif substrate == "onprem":
        by = ONPREM_VARIABLE if os.environ.get(ONPREM_VARIABLE) else "the working directory"
        path = onprem.default_path()
    elif substrate in {"gcp", "edge"}:
        path, by = cluster_document(substrate), f"the last `shoal up {substrate}`"
    else:
        name, by = lab_name()
        path = cluster_document(name)
    return Choice(path, by, substrate, run_of)


def opened(choice: Choice, *, claim: bool = False) -> Cluster:
    """The chosen document with its first addresses. With `claim`, note whose the cluster's name is.

    Raises UsageError where it cannot be read, is of another substrate or of another cluster than the command says, or
    has the name of another cluster, whose tokens and documents it would take for its own.
    """
    cluster = load.load_first(choice.path)
    if choice.substrate and cluster.substrate != choice.substrate:
        raise UsageError(
            f"the command is about {choice.substrate}, and {choice.by} names a cluster of {cluster.substrate}: "
            f"{cluster.name!r} in {choice.path}",
            hint=f"unset {choice.by}, or say {cluster.substrate}",
        )
    if choice.run_of and cluster.name != choice.run_of:
        raise UsageError(
            f"the run belongs to cluster {choice.run_of!r}, this is {cluster.name!r} (from {choice.by})",
            hint="name the right cluster document with --cluster",
        )
    owners.refuse_taken(cluster, choice.path)
    if claim:
        owners.claim(cluster, choice.path)
    return cluster


def first_line(choice: Choice, cluster: Cluster) -> str:
    """The line that begins a command: which cluster, where its document lies, and what named it."""
    machines = f"{len(cluster.nodes)} machine{'s' if len(cluster.nodes) != 1 else ''}"
    return f"cluster {cluster.name!r} ({cluster.substrate}, {machines}): {choice.path}, from {choice.by}"
