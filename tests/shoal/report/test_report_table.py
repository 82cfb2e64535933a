"""The terminal's table and the command."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from shoal.cli.report import app
from shoal.errors import UsageError
from shoal.report import read_run
from shoal.report.table import show
from shoal.results import record as runs
from shoal.results.record import NodeRecord, Outcome
from tests.shoal.report import report_example as example


def shown(run: str, *, width: int | None = None, page: Path | None = None) -> str:
    """As on a terminal of `width` columns; as in a pipe where no width is given."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=width is not None, width=width, color_system=None, soft_wrap=True)
    show(read_run(run), page, console)
    return stream.getvalue()


def test_pipe_gets_plain_whole_lines() -> None:
    text = shown(example.whole_run(), page=Path("/somewhere/runs/x/report.html"))

    assert "\x1b" not in text
    assert not set(text) & set("─│━┃╭╮")
    row = next(line for line in text.splitlines() if line.startswith("  cam01-campus.mp4"))
    assert row.split() == ["cam01-campus.mp4", "110", "14.3", "210", "person", "122,", "car", "51,", "truck", "37"]
    assert any(line.startswith("compute-1") and line.rstrip().endswith("finished") for line in text.splitlines())
    assert any(line.startswith("total") and "1,320" in line for line in text.splitlines())
    assert "7.4 MB of video stayed on the nodes" in text
    assert text.rstrip().splitlines()[-1] == "report: /somewhere/runs/x/report.html"


def test_incomplete_run_says_so_in_its_first_line() -> None:
    text = shown(example.partly_failed_run())

    assert text.splitlines()[0] == "Incomplete: 1 of 3 nodes finished with verified results."
    for words in (
        "FAULT truncated",
        "FAULT unreadable",
        "out of memory, not verified, 2 attempts",
        "no results at home",
    ):
        assert words in text


def test_nothing_at_all_is_a_line() -> None:
    assert "zero videos" in shown(example.empty_run())


@pytest.mark.parametrize("width", [30, 44, 60, 80, 91, 92, 100, 140])
def test_fits_the_terminal(width: int) -> None:
    text = shown(example.partly_failed_run(), width=width)

    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= width
    together = " ".join(text.split())
    assert "cam04-broken.mp4" in together
    assert "FAULT truncated" in together


def test_path_of_the_page_is_never_broken() -> None:
    page = Path("/a/long/way/down/to/the/folder/of/the/run/report.html")

    assert f"report: {page}\n" in shown(example.empty_run(), width=30, page=page)


@pytest.mark.parametrize("width", [None, 40, 120])
def test_names_cannot_steer_the_terminal(width: int | None) -> None:
    node = runs.run_dir("r") / "a"
    name = "\x1b]0;owned\x07[bold]x[/bold]\n[/nope].mp4"
    fetched = example.finish(node, "r", [example.add_video(node, name, classes=("[red]", "\x1b[2J"))])
    example.record("r", {"a": NodeRecord(outcome=Outcome.FINISHED, fetched=fetched)})

    text = "".join(line.strip() for line in shown("r", width=width).splitlines())

    assert "\x1b]" not in text
    assert "\x1b[2J" not in text
    assert "\x07" not in text
    if width is None:
        assert "\\x1b]0;owned\\x07[bold]x[/bold]\\n[/nope].mp4" in text


def test_command_writes_the_page_and_prints_the_table() -> None:
    run = example.whole_run()

    result = CliRunner().invoke(app, [run])

    assert result.exit_code == 0, result.output
    assert (runs.run_dir(run) / "report.html").is_file()
    assert "Complete: 2 of 2 nodes" in result.stdout
    assert str(runs.run_dir(run) / "report.html") in result.stdout


def test_command_json_is_the_view_model_and_writes_no_page_unasked(tmp_path: Path) -> None:
    run = example.partly_failed_run()

    result = CliRunner().invoke(app, [run, "--json"])

    document = json.loads(result.stdout)
    assert document == read_run(run).model_dump(mode="json")
    assert document["state"] == "incomplete"
    assert not (runs.run_dir(run) / "report.html").exists()
    CliRunner().invoke(app, [run, "--json", "--html", str(tmp_path / "p.html")])
    assert (tmp_path / "p.html").is_file()


def test_command_latest_and_budget(tmp_path: Path) -> None:
    example.whole_run("20260101-000000-aaaa")
    example.whole_run("20260102-000000-aaaa")

    result = CliRunner().invoke(app, ["--latest", "--images-mb", "0.1", "--html", str(tmp_path / "p.html")])

    assert result.exit_code == 0
    page = (tmp_path / "p.html").read_text()
    assert "20260102-000000-aaaa" in page
    assert "under 100.0 kB" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name one run, or say --latest"),
        (["run-1", "--latest"], "name one run, or say --latest"),
        (["--latest"], "there is no run under"),
        (["../etc"], "is not a run id"),
        (["absent"], "there is no run 'absent'"),
    ],
)
def test_command_refuses_with_words(arguments: list[str], words: str) -> None:
    error = CliRunner().invoke(app, arguments).exception

    assert isinstance(error, UsageError)
    assert words in str(error)
