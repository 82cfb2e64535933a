"""`shoal demo-down`: every trace of the demo removed, and looked for again."""

from __future__ import annotations

from typing import Annotated

import typer

from shoal.cli.console import say
from shoal.cli.lab import AsJson, tell_down
from shoal.cli.options import LabName
from shoal.cli.options import lab as chosen
from shoal.demo import down as demo_downs
from shoal.paths import runs_dir

app = typer.Typer(add_completion=False, help="Remove every trace of the demo and prove it.")


@app.command("demo-down")
def demo_down(
    *,
    name: LabName = None,
    keep_cache: Annotated[
        bool, typer.Option("--keep-cache", help="Keep downloads and images: the next demo is quicker.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the machines, images, engine, packages, files and cache of the demo; then look again and show it.

    Results under runs/ stay. Exit 1 if anything else remains.

    Examples:

        shoal demo-down

        shoal demo-down --keep-cache
    """
    name = chosen(name)
    tell_down(name, demo_downs.take_down(name, keep_cache=keep_cache, say=say), as_json=as_json)
    if runs_dir().is_dir():
        say(f"results are yours and stay: {runs_dir()}")
