"""Ctrl-C in any verb: one line says what goes on and how it is taken up, and only once."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from shoal import cli
from shoal.cli import interrupted
from shoal.errors import Exit
from shoal.interrupts import ReportedInterrupt


def pressed(monkeypatch: pytest.MonkeyPatch, words: list[str], error: BaseException) -> None:
    """The command `words`, which Ctrl-C ends as soon as it has begun."""

    def work() -> None:
        raise error

    one = typer.Typer()
    group = typer.Typer()
    names = [word for word in words if not word.startswith("-")]
    if len(names) > 1:
        group.command(names[1])(work)
        group.command("another")(lambda: None)
        one.add_typer(group, name=names[0])
    else:
        one.command(names[0])(work)
    one.command("other")(lambda: None)
    monkeypatch.setattr(cli, "app", one)
    monkeypatch.setattr(sys, "argv", ["shoal", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == Exit.INTERRUPTED


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["up"], "type the command again, which looks and goes on"),
        (["destroy"], "until it says that nothing is left"),
        (["site", "deploy"], "the deploy was ended and machines may be half-way"),
        (["nodes", "drain"], "nodes that were marked get no new run"),
        (["nodes", "list"], "nothing was changed"),
        (["results", "verify"], "nothing was changed"),
        (["run"], "before a run was begun; no container was started"),
        (["artifacts", "fetch"], "it goes on from what is done, and does nothing twice"),
    ],
)
def test_the_last_line_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    pressed(monkeypatch, words, KeyboardInterrupt())
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("shoal: interrupted")
    assert line in " ".join(said)


def test_what_was_reported_is_not_reported_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pressed(monkeypatch, ["run"], ReportedInterrupt())
    assert capsys.readouterr().err == ""


def test_every_line_names_a_verb_that_there_is() -> None:
    known: set[tuple[str, ...]] = set()
    command: Any = typer.main.get_command(cli.app)
    for name in command.list_commands(typer.Context(command)):
        found = command.get_command(typer.Context(command), name)
        known.add((name,))
        known |= {(name, other) for other in getattr(found, "commands", {})}
    assert set(interrupted.WORDS) <= known


def test_a_real_interrupt_of_a_waiting_command_is_told(tmp_path: Path) -> None:
    import subprocess

    # The lock of the artefact is held: the command waits, and is interrupted in its wait.
    code = f"""
import sys, threading
from pathlib import Path
sys.argv = ["shoal", "artifacts", "fetch", "yolov5s"]
from shoal import cli
from shoal.cli import artifacts
from shoal.locks import locked
with locked(Path({str(tmp_path / "lock")!r}), what="it"):
    import typer
    app = typer.Typer()
    @app.command("artifacts")
    def wait(words: list[str]) -> None:
        with locked(Path({str(tmp_path / "lock")!r}), what="it", say=lambda text: print(text, flush=True)):
            pass
    app.command("other")(lambda: None)
    cli.app = app
    cli.main()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "waiting for it" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED, said
    assert said.strip() == f"shoal: {interrupted.AGAIN}"
