"""Options that several verbs have, so that each means the same everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from shoal.paths import cluster_document, expanded

DEFAULT_LAB = "lab"

LabName = Annotated[str, typer.Option("--name", help="Name of the lab.", envvar="SHOAL_LAB")]
AgreeToEngine = Annotated[
    bool,
    typer.Option("--yes", "-y", envvar="SHOAL_YES", help="Install an engine without asking, if none answers."),
]
ClusterPath = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="PATH",
        envvar="SHOAL_CLUSTER",
        help="Cluster document, or onprem.toml; else the lab's.",
        show_default=False,
    ),
]


def cluster_path(given: Path | None) -> Path:
    """The document that a verb reads: the one given, else that of this user's lab (`SHOAL_LAB`)."""
    return expanded(given) if given else cluster_document(os.environ.get("SHOAL_LAB") or DEFAULT_LAB)
