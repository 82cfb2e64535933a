"""The `shoal` command: one module per group of verbs, loaded when it is asked for; errors become messages here."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from typing import Any

import typer
from typer.core import TyperGroup

from shoal.cli.console import open_streams, report_error, say, settle_streams
from shoal.cli.interrupted import unreported, words_for
from shoal.errors import Exit, ShoalError, of_this_machine
from shoal.files import close_to_others
from shoal.interrupts import ending_at_once
from shoal.paths import repository, state_dir
from shoal.version import described

# In the order of the help page. Each is a module of this package with an `app`.
VERBS = (
    *("demo", "demo-live", "demo-down", "lab", "up", "bootstrap", "drift", "destroy", "demo-cloud"),
    *(
        "cluster",
        "site",
        "mesh",
        "nodes",
        "run",
        "resume",
        "job",
        "engine",
        "results",
        "watch",
        "events",
        "outbox",
        "report",
        "cost",
        "artifacts",
    ),
)


class _Verbs(TyperGroup):
    """Loads a verb's module only when that verb is used: the lab's engine client or the converter take a second."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return super().get_command(ctx, cmd_name)
        with ending_at_once():
            module = importlib.import_module(f"shoal.cli.{cmd_name.replace('-', '_')}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="shoal",
    cls=_Verbs,
    help="From bare machines to video inference results.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"shoal {described(repository())}")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True)) -> None:
    del version
    # Made by an earlier version under another umask: what lies in them is this user's alone.
    close_to_others(state_dir())


def main() -> None:
    """Entry point: ends with the documented exit code, never with a traceback for a user's mistake."""
    open_streams()
    try:
        _run()
    finally:
        settle_streams()


def _run() -> None:
    try:
        app()
    except ShoalError as error:
        report_error(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno is None:
            raise  # not the system's own word: a library's
        report_error(of_this_machine(error))
        sys.exit(Exit.FAILED)
    except KeyboardInterrupt as interrupt:
        _report_interrupt(interrupt)
        sys.exit(Exit.INTERRUPTED)
    except SystemExit as end:
        if end.code == Exit.INTERRUPTED:
            _report_interrupt(end)  # typer makes this of a Ctrl-C
        raise


def _report_interrupt(error: BaseException) -> None:
    if unreported(error):
        with suppress(OSError):  # without a terminal the exit code still says it
            say(f"shoal: {words_for(sys.argv[1:])}")
