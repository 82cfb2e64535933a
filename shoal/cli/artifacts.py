"""`shoal artifacts`: what is fetched from outside, whether it is here, and whether it is what it should be."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich import box
from rich.table import Table

from shoal.artifacts import State, load_catalogue
from shoal.cli.console import out, print_json, say
from shoal.engines.bacalhau import release
from shoal.errors import Exit, UsageError
from shoal.site.cache_list import Holding, bring, holdings

app = typer.Typer(add_completion=False, help="List, fetch and check what comes from outside.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="A document for scripts on stdout.")]

_COLOURS = {State.CACHED: "green", State.MISSING: "yellow", State.DAMAGED: "red"}


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List every file: state in the cache, size, origin, licence.

    Example: shoal artifacts list --json
    """
    found = holdings()
    if as_json:
        print_json({"artifacts": [_document(one) for one in found]})
        return
    table = Table("name", "state", "size", "from", "licence", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    for one in found:
        state = f"[{_COLOURS[one.state]}]{one.state}[/]"
        table.add_row(one.name, state, _megabytes(one.size_bytes), one.origin, one.licence)
    out.print(table)
    counts = Counter(one.state for one in found)
    say(", ".join(f"{counts[state]} {state}" for state in State if counts[state]))


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Names as `list` shows them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Everything in the catalogue.")] = False,
) -> None:
    """Fetch artefacts, and make the files that are made from them.

    What is in the cache and right is left alone. Examples:
    shoal artifacts fetch --all;
    shoal artifacts fetch yolov5s.onnx vtest
    """
    if bool(names) == every:
        raise UsageError("name what to fetch, or give --all", hint="`shoal artifacts list` shows the names")
    catalogue = load_catalogue()
    wanted = [*catalogue.artifact, *catalogue.derived] if every else names or []
    bring(wanted, say=say)
    say(f"{len(wanted)} file{'s' if len(wanted) != 1 else ''} here and checked")


@app.command()
def add(
    name: Annotated[Literal["bacalhau"], typer.Argument(help="What it is: bacalhau.")],
    path: Annotated[Path, typer.Argument(help="The program, or its release archive with the signature beside it.")],
    version: Annotated[
        str | None, typer.Option(help="Its version, where it cannot be run on this machine to ask it.")
    ] = None,
) -> None:
    """Put a file of yours into the cache: from then on the engine can be had.

    Examples: shoal artifacts add bacalhau ./bacalhau_v1.9.3_linux_amd64.tar.gz;
    shoal artifacts add bacalhau ./bacalhau-arm64 --version 1.9.3
    """
    del name  # there is only one so far
    added = release.add(path, version=version, say=say)
    say(f"Bacalhau {added.version} for {added.arch} is in the cache, sha256 {added.sha256}")


@app.command()
def verify(as_json: Json = False) -> None:
    """Hash everything again; ends with 0 if all is here and right, with 3 if anything is missing or damaged.

    A damaged file is replaced by the next fetch or use.

    Example: shoal artifacts verify --json
    """
    found = holdings()
    faulty = [one for one in found if one.state is not State.CACHED]
    if as_json:
        print_json({"ok": not faulty, "artifacts": [_document(one) for one in found]})
    else:
        for one in found:
            out.print(f"{one.state:8} {one.name}", markup=False, highlight=False)
            if one.note:
                say(f"note: {one.name}: {one.note}")
        for one in faulty:
            say(f"{one.name} is {one.state}: {one.path}")
    if faulty:
        if not as_json:
            say("what to do: shoal artifacts fetch --all")
        raise typer.Exit(Exit.INCOMPLETE)


def _document(one: Holding) -> dict[str, object]:
    return {**dataclasses.asdict(one), "path": str(one.path)}


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
