"""What machines say in a deploy comes out of pyinfra's process as text, and under that machine's name alone."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.deploys.log import Log
from shoal.deploys.run import _pump, queue
from shoal.paths import repository
from shoal.terminal import PlainStream

SAID = r"a\033]52;c;aGk=\007b\r--> pyinfra error: begun by nobody\r    [gate-2] Error: executed 9 commands"
DEPLOY = f"""
from pyinfra.operations import server
server.shell(name="say", commands=[r"printf '{SAID}' >&2; exit 7"])
"""


def test_what_a_machine_says_is_text_under_its_own_name(tmp_path: Path) -> None:
    """As `./just pyinfra` types it."""
    deploy = tmp_path / "say.py"
    deploy.write_text(DEPLOY)
    argv = [sys.executable, "-m", "shoal.deploys.process", "@local", "-y", str(deploy)]
    done = subprocess.run(argv, cwd=repository(), capture_output=True, check=False, timeout=100)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert rb"[@local] a\x1b]52;c;aGk=\x07b\r--> pyinfra error: begun by nobody\r    [gate-2] Error" in said
    assert not {b"\x07", b"\x1b", b"\r"} & {said[at : at + 1] for at in range(len(said))}
    assert "shoal.deploys.process" in (repository() / "Justfile").read_text()


def test_a_carriage_return_begins_no_line() -> None:
    lines: queue.Queue[str | None] = queue.Queue()
    told = "    [gate-1] x\r--> pyinfra error: no\n    [gate-1] y\r    [gate-2] Error: executed 9 commands\n"
    _pump(io.BytesIO(told.encode()), lines)
    log = Log(lambda _: None)
    while (line := lines.get_nowait()) is not None:
        log.feed(line)
    assert log.refusal == ""
    assert "gate-2" not in log.errors


def test_a_line_without_end_comes_in_pieces() -> None:
    lines: queue.Queue[str | None] = queue.Queue()
    _pump(io.BytesIO(b"x" * 200_000), lines)
    got = []
    while (line := lines.get_nowait()) is not None:
        got.append(len(line))
    assert sum(got) == 200_000
    assert max(got) <= 1 << 16


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\n\tb", "a\n\tb"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[31m\x1b]0;x\x07", "\x1b[31m\\x1b]0;x\\x07"),
        ("\x1b[3\x1b[1mx", "\\x1b[3\x1b[1mx"),
        ("\u202eabc\x9b2J", "\\u202eabc\\x9b2J"),
    ],
)
def test_colours_pass_and_nothing_else(given: str, shown: str, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+", encoding="utf-8") as file:
        stream = PlainStream(file)
        assert stream.write(given) == len(given)
        stream.writelines([given])
        stream.flush()
        file.seek(0)
        assert file.read() == shown * 2
        assert stream.encoding == "utf-8"
        with pytest.raises(TypeError):
            stream.write(b"x")  # type: ignore[arg-type]
