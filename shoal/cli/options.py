"""Options that several verbs have, so that each means the same everywhere, and the line that begins a command."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import click
import typer
from click.core import ParameterSource
from pydantic import SecretStr

from shoal.cli.console import say
from shoal.cluster import reach as reaches
from shoal.cluster import which
from shoal.cluster.document import Cluster, Substrate
from shoal.cluster.reach import Reach
from shoal.errors import UsageError

LabName = Annotated[
    str | None,
    typer.Option("--name", help=f"Name of the lab; else SHOAL_LAB, else {which.DEFAULT_LAB}.", show_default=False),
]
AgreeToEngine = Annotated[
    bool,
    typer.Option("--yes", "-y", envvar="SHOAL_YES", help="Install an engine without asking, if none answers."),
]
Weights = Annotated[
    Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="A YOLOv5 model as ONNX.")
]
StageTimings = Annotated[Path | None, typer.Option(metavar="PATH", help="Write the seconds of each stage as JSON.")]
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

BreakLock = Annotated[
    bool,
    typer.Option("--break-lock", help="Take over the deploy locks of a deploy that was killed; never of a living one."),
]
AskSudoPassword = Annotated[
    bool,
    typer.Option(
        "--ask-sudo-password",
        help="Ask for the password that sudo on the machines wants, once; it is in memory only. "
        "Read from standard input where that is no terminal.",
    ),
]


def reach(
    given: Path | None, *, run_of: str | None = None, ask_sudo_password: bool = False, claim: bool = True
) -> Reach:
    """The cluster that a verb is about, read once, after the line that names it.

    `run_of` is the cluster's name in a run's record. A verb that only looks does not `claim` the cluster's name.
    """
    choice, cluster = _opened(given, run_of=run_of, claim=claim)
    return reaches.made(choice.path, cluster).with_sudo_password(sudo_password() if ask_sudo_password else None)


def cluster_of(
    given: Path | None, *, run_of: str | None = None, ask_sudo_password: bool = False, claim: bool = True
) -> Cluster:
    """The same for a verb that writes no document: the cluster as its nodes are reached now."""
    return reach(given, run_of=run_of, ask_sudo_password=ask_sudo_password, claim=claim).now


def sudo_password() -> SecretStr:
    """The password as the person types it, unseen; else the first line of standard input. Raises UsageError."""
    if sys.stdin.isatty():
        typed = getpass.getpass("sudo password of the machines: ")
    else:
        typed = sys.stdin.readline().rstrip("\r\n")
    if not typed:
        raise UsageError("no sudo password was given", hint="leave out --ask-sudo-password where sudo asks for none")
    return SecretStr(typed)


def _opened(given: Path | None, *, run_of: str | None = None, claim: bool = True) -> tuple[which.Choice, Cluster]:
    choice = which.choose(None if _from_environment("cluster") else given, run_of=run_of)
    cluster = which.opened(choice, claim=claim)
    say(which.first_line(choice, cluster))
    return choice, cluster


def substrate_reach(substrate: Substrate, named: tuple[str, str] | None = None) -> Reach:
    """The same for a command that names a substrate, and perhaps a lab or stack of it. It only looks."""
    choice = which.choose(substrate=substrate, named=named)
    cluster = which.opened(choice)
    say(which.first_line(choice, cluster))
    return reaches.made(choice.path, cluster)


def lab(given: str | None) -> str:
    """The lab that a verb is about, after the line that names it."""
    name, by = which.lab_name(given)
    say(f"lab {name!r}, from {by}")
    return name


def _from_environment(parameter: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(parameter) is ParameterSource.ENVIRONMENT
