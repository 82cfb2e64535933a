"""`shoal bootstrap`: the machines of a stack become a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.console import say
from shoal.cli.up import Name, Which, chosen
from shoal.lifecycle import verbs

app = typer.Typer(help="The machines of a stack become a cluster.")


@app.command("bootstrap")
def bootstrap(
    kind: Which,
    *,
    stack: Name = None,
    videos: Annotated[Path | None, typer.Option(help="Folder of clips to place; else the sample clips.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A YOLOv5 model as ONNX; else YOLOv5s.")] = None,
) -> None:
    """Wait until the machines let us in, place what the site needs, and run the site's deploy over SSH.

    Example: shoal bootstrap gcp
    """
    made = verbs.bootstrap(chosen(kind, stack), say, videos=videos, weights=weights)
    say(f"cluster {made.name!r} is ready; next: `./just run {kind}`")
