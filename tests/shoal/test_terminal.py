"""What others wrote reaches a terminal as text: no escape, no control, no mark that turns text around, no markup."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_nodes import FakeNodes
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from shoal import telling
from shoal.cli import console
from shoal.cli.run import show_end
from shoal.errors import Fault, ShoalError
from shoal.results import record as runs
from shoal.results.record import Attempt, Image, NodeRecord, Outcome, RunRecord, Weights
from shoal.terminal import PlainConsole, plain, printable

HOSTILE = (
    "a\x1b]52;c;ZXZpbA==\x1b\\\x1b[2J\x1b]0;title\x07b\x9b31mc\x85d\u202ee\u2066f\u200eg\rh\x08i\x7fj\u2028k\ud800l"
)
RICHS_OWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colours and cursor moves; the forms that an attacker wants (`]`, `P`, `_`, `^`, C1) are not among them."""


def harmless(text: str) -> bool:
    return printable(RICHS_OWN.sub("", text), keep="\n\t") == RICHS_OWN.sub("", text)


def test_printable_keeps_ordinary_names_and_spells_out_what_is_hidden() -> None:
    assert printable("Bäckerei Ω “3” 👨\u200d👩 نص.mp4") == "Bäckerei Ω “3” 👨\u200d👩 نص.mp4"
    assert printable("a\nb\x1b[31m\u202egpj.exe\x7f\x9b") == "a\\nb\\x1b[31m\\u202egpj.exe\\x7f\\x9b"
    assert printable("a\nb\t\x1b", keep="\n\t") == "a\nb\t\\x1b"


@given(st.text() | st.text(st.sampled_from(HOSTILE)))
def test_printable_is_one_line_and_can_be_written(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    shown.encode("utf-8")


@given(st.text() | st.text(st.sampled_from(HOSTILE + "[/]:=")))
def test_the_console_prints_text_as_text(text: str) -> None:
    for on_terminal in (True, False):
        stream = io.StringIO()
        shown = PlainConsole(file=stream, force_terminal=on_terminal, color_system="standard" if on_terminal else None)
        table = Table(text, title=text)
        table.add_row(text)
        table.add_row(Text(text))
        shown.print(text)
        shown.print(text, style="red")
        shown.print(table)
        assert harmless(stream.getvalue())


def test_names_are_no_markup_and_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("[red]a[/] [/nope] :smile: [link=http://x]y[/link]")
    assert "[red]a[/] [/nope] :smile: [link=http://x]y[/link]" in capsys.readouterr().err


def test_every_way_out_of_the_command_is_filtered(capfd: pytest.CaptureFixture[str]) -> None:
    console.say(HOSTILE)
    console.report_error(ShoalError(HOSTILE, hint=HOSTILE, faults=(Fault(HOSTILE, HOSTILE),)))
    console.out.print(HOSTILE)
    console.print_plain(f"\x1b[0;32m  OK  \x1b[0m {HOSTILE}")
    telling.to_stderr(HOSTILE)
    said = capfd.readouterr()
    assert printable(said.out, keep="\n\t") == said.out
    assert printable(said.err, keep="\n\t") == said.err
    assert "  OK  " in said.out
    assert "\\x1b]52;c;ZXZpbA==" in said.err


def test_json_for_scripts_holds_the_same_text_and_nothing_that_a_terminal_obeys(
    capfd: pytest.CaptureFixture[str],
) -> None:
    value = {HOSTILE.replace("\ud800", ""): ["\x7f\x9b\u202e\U000e0041ä👨\u200d👩"]}
    console.print_json(value)
    said = capfd.readouterr().out
    assert json.loads(said) == value
    assert printable(said, keep="\n") == said
    assert "ä" in said


def test_the_closing_lines_of_a_run_hold_the_last_words_of_a_container_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOAL_RUNS", str(tmp_path))
    moment = "2026-11-25T09:00:00Z"
    attempt = Attempt(number=1, started_at=moment, outcome=Outcome.FAILED, message=HOSTILE)  # type: ignore[arg-type]
    record = RunRecord(
        run="r1",
        created_at=moment,  # type: ignore[arg-type]
        cluster="c",
        substrate="onprem",
        engine="ssh",
        image=Image(reference="x"),
        weights=Weights(name="m", sha256="0" * 64),
        nodes={"c1": NodeRecord(outcome=Outcome.FAILED, attempts=[attempt])},
    )
    show_end(record)
    said = capfd.readouterr().err
    assert "c1: failed: a\\x1b]52" in said
    assert printable(said, keep="\n") == said


def test_a_run_on_a_terminal_passes_no_escape_of_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = FakeNodes.make(tmp_path, monkeypatch, compute=1)
    nodes.down("c1", "\x1b]52;c;ZXZpbA==\x07 Permission denied (\x1b[2J\u202e).\r\n")
    (tmp_path / "cluster.json").write_text(nodes.cluster.model_dump_json())
    said = on_a_terminal("results", "fetch", *_known_run(nodes), "--cluster", str(tmp_path / "cluster.json"))
    assert "Permission denied" in said
    assert "\x1b]" not in said
    assert "\x1b[2J" not in said
    assert "\u202e" not in said
    assert "\\x1b]52" in said


def _known_run(nodes: FakeNodes) -> list[str]:
    record = RunRecord(
        run="r1",
        created_at="2026-11-25T09:00:00Z",  # type: ignore[arg-type]
        cluster="test",
        substrate="onprem",
        engine="ssh",
        image=Image(reference="x"),
        weights=Weights(name="m", sha256="0" * 64),
        nodes={"c1": NodeRecord(outcome=Outcome.FINISHED)},
    )
    runs.save(record)
    return ["r1"]


def on_a_terminal(*words: str) -> str:
    """What `shoal` writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "shoal", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=dict(os.environ)
    )
    os.close(theirs)
    came = b""
    while chunk := _read(ours):
        came += chunk
    os.close(ours)
    process.wait(60)
    return came.decode(errors="replace")


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # the other end is closed: how a terminal says that it is the end
        return b""


def test_colours_of_a_journal_are_dropped_and_all_else_spelled_out() -> None:
    assert plain("\x1b[0;1;31mfailed\x1b[0m\r\nnext\x1b]0;x\x07\n") == "failed\nnext\\x1b]0;x\\x07\n"
