"""The `shoal` command: one module per group of verbs; this one joins them and turns errors into messages."""

from __future__ import annotations

import sys

import typer

from shoal import __version__
from shoal.cli import artifacts, cluster, demo, lab, report, results, run, site
from shoal.cli.console import report_error
from shoal.errors import Exit, ShoalError

app = typer.Typer(
    name="shoal",
    help="From bare machines to video inference results.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# A group with a single verb of the group's own name is that verb: `shoal run`, not `shoal run run`.
for single in (demo, run, report):
    app.add_typer(single.app)
for name, group in {"lab": lab, "site": site, "cluster": cluster, "results": results, "artifacts": artifacts}.items():
    app.add_typer(group.app, name=name)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"shoal {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True)) -> None:
    del version


def main() -> None:
    """Entry point: ends with the documented exit code, never with a traceback for a user's mistake."""
    try:
        app()
    except ShoalError as error:
        report_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
