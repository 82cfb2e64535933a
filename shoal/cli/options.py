"""Options that several verbs have, so that each means the same everywhere, and the line that begins a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click
import typer
from click.core import ParameterSource

from shoal.cli.console import say
from shoal.cluster import which
from shoal.cluster.document import Substrate

LabName = Annotated[
    str | None,
    typer.Option("--name", help=f"Name of the lab; else SHOAL_LAB, else {which.DEFAULT_LAB}.", show_default=False),
]
AgreeToEngine = Annotated[
    bool,
    typer.Option("--yes", "-y", envvar="SHOAL_YES", help="Install an engine without asking, if none answers."),
]
ClusterPath = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="PATH",
        envvar=which.CLUSTER_VARIABLE,
        help="Cluster document, or onprem.toml; else the lab's (SHOAL_LAB).",
        show_default=False,
    ),
]


def cluster_path(given: Path | None, *, run_of: str | None = None, claim: bool = True) -> Path:
    """The document that a verb reads, after the line that tells which cluster that is.

    `run_of` is the cluster's name in a run's record. A verb that only looks does not `claim` the cluster's name.
    """
    choice = which.choose(None if _from_environment("cluster") else given, run_of=run_of)
    say(which.told(choice, which.opened(choice, claim=claim)))
    return choice.path


def substrate_path(substrate: Substrate, named: tuple[str, str] | None = None, *, claim: bool = False) -> Path:
    """The document of a command that names a substrate, and perhaps a lab or stack of it; told likewise."""
    choice = which.choose(substrate=substrate, named=named)
    say(which.told(choice, which.opened(choice, claim=claim)))
    return choice.path


def lab(given: str | None) -> str:
    """The lab that a verb is about, after the line that tells which that is."""
    name, by = which.lab_name(given)
    say(f"lab {name!r}, from {by}")
    return name


def _from_environment(parameter: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(parameter) is ParameterSource.ENVIRONMENT
