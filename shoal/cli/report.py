"""`shoal report`: what a run found, as a table, a page and a document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal import report
from shoal.cli.console import out, print_json
from shoal.errors import UsageError
from shoal.paths import runs_dir
from shoal.report import table
from shoal.report.html import DEFAULT_IMAGES_MAX_BYTES
from shoal.results import record as runs

app = typer.Typer(add_completion=False, help="Show what a run found.")
BYTES_PER_MB = 1_000_000


@app.command("report")
def show(
    run: Annotated[str | None, typer.Argument(help="Id of the run, as in runs/.", show_default=False)] = None,
    latest: Annotated[bool, typer.Option("--latest", help="The newest run there is.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="PATH", help="Where the page goes; else runs/<run>/report.html."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="The report as JSON on stdout; a page only where --html names one.")
    ] = False,
    images_mb: Annotated[
        float,
        typer.Option(
            "--images-mb", min=0, help="Most pictures the page may hold, in MB; the page names what is left out."
        ),
    ] = DEFAULT_IMAGES_MAX_BYTES / BYTES_PER_MB,
) -> None:
    """Print the table of a run and write one self-contained HTML page.

    Works on whole, faulty and half-fetched runs and says which it is. Exit codes: 0 the report was made (also where
    the run itself failed; see `state` in --json), 1 the page cannot be written, 2 there is no such run.

    Examples:

        shoal report --latest

        shoal report 20261125-093012-3fa9 --html /srv/www/run.html

        shoal report --latest --json | jq .totals.counts
    """
    view = report.read_run(chosen_run(run, latest))
    page = None
    if html is not None or not json:
        page = report.write_page(view, html, images_max_bytes=int(images_mb * BYTES_PER_MB))
    if json:
        print_json(view.model_dump(mode="json"))
    else:
        table.show(view, page, out)


def chosen_run(run: str | None, latest: bool) -> str:
    """The id of the run that was named, or of the newest. Raises UsageError."""
    if (run is not None) == latest:
        raise UsageError("name one run, or say --latest", hint="for example: shoal report --latest")
    if run is not None:
        return runs.check_run_id(run)
    there = runs.list_runs()
    if not there:
        raise UsageError(f"there is no run under {runs_dir()}", hint="make one with `shoal run`")
    return there[-1]
