"""`shoal cluster`: make, check and show a cluster document."""

from __future__ import annotations

import typer

app = typer.Typer(help="Make, check and show a cluster document.", no_args_is_help=True)
