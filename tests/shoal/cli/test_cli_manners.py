"""What the command makes of whatever surrounds it: closed and full streams, odd encodings, folders it may not use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shoal.errors import Exit, of_this_machine

SHOAL = [sys.executable, "-m", "shoal"]
EXAMPLE = Path(__file__).resolve().parents[3] / "inventories" / "onprem.example.toml"
SHOW = f"cluster show {EXAMPLE}"


def shell(folder: Path, words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell begins it, with its redirections."""
    known = {
        key: value
        for key, value in os.environ.items()
        if key not in {"PYTHONIOENCODING", "PYTHONUNBUFFERED", "PYTHONUTF8"}
    }
    return subprocess.run(
        ["sh", "-c", f"{sys.executable} -m shoal {words}"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        stdin=subprocess.DEVNULL,
        env={**known, **environment},
        timeout=60,
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (f"{SHOW} >&-", Exit.OK),
        (f"{SHOW} 2>&-", Exit.OK),
        ("cluster show missing.json 2>&-", Exit.USAGE),
        ("cluster show missing.json 2>/dev/full", Exit.USAGE),
        ("cluster init <&-", Exit.USAGE),
        (f"{SHOW} >/dev/full", Exit.FAILED),
        (f"{SHOW} --json >/dev/full", Exit.FAILED),
    ],
)
def test_streams_that_are_closed_or_full_end_in_no_traceback(tmp_path: Path, words: str, code: Exit) -> None:
    done = shell(tmp_path, words)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    if words.endswith(">/dev/full"):
        assert "2>" in words or "No space left on device" in done.stderr


def test_a_reader_that_goes_away_ends_the_command_without_a_word(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*SHOAL, *SHOW.split()], cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (Exit.FAILED, "")


def test_a_poor_encoding_loses_no_row_and_json_stays_json(tmp_path: Path) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    assert shell(tmp_path, SHOW, **ascii_only).stdout.count("compute") >= 2
    cut = shell(tmp_path, SHOW, **ascii_only, COLUMNS="60")  # with dots that the encoding lacks
    assert (cut.returncode, cut.stderr) == (0, "")
    refused = shell(tmp_path, "cluster show 'g\u00e4te.json'", **ascii_only)
    assert refused.returncode == Exit.USAGE
    assert "g\\xe4te.json" in refused.stderr
    (tmp_path / "gate.json").write_text("{}", encoding="utf-8")
    document = shell(tmp_path, f"{SHOW} --json", **ascii_only)
    assert json.loads(document.stdout)["nodes"]


@pytest.mark.parametrize("columns", [None, "0", "10", "nonsense"])
def test_a_table_is_never_empty_and_in_a_pipe_never_cut(tmp_path: Path, columns: str | None) -> None:
    done = shell(tmp_path, SHOW, **({} if columns is None else {"COLUMNS": columns}))
    assert done.returncode == 0
    assert done.stdout.strip()
    if columns is None:
        assert "\u2026" not in done.stdout
        assert all(f"@{address}" in done.stdout for address in _addresses())


def _addresses() -> list[str]:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return [line.split('"')[1] for line in lines if line.startswith("address")]


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        ("results list", {"SHOAL_RUNS": "~nobody-of-that-name/x"}, "there is no such user"),
        ("cluster where lab", {"SHOAL_STATE": "~nobody-of-that-name/x"}, "there is no such user"),
        ("cluster init --name x --requester a@b --compute c --output . --force", {}, ". is a folder"),
        ("cluster init --name x --requester a@b --compute c --output /proc/x.toml", {}, "/proc"),
    ],
)
def test_places_that_cannot_be_used_are_named(
    tmp_path: Path, words: str, environment: dict[str, str], told: str
) -> None:
    done = shell(tmp_path, words, **environment)
    assert "Traceback" not in done.stderr
    assert done.returncode in (Exit.FAILED, Exit.USAGE)
    assert told in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_users_home_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from shoal import paths
    from shoal.errors import UsageError

    monkeypatch.delenv("SHOAL_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(UsageError, match="no home folder") as caught:
        paths.cache_dir()
    assert "SHOAL_CACHE" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("deep.json", "[" * 100_000),
        ("deep.toml", "a=" + "[" * 100_000),
        ("long.json", '{"version": ' + "9" * 5000 + "}"),
        ("long.toml", "a = " + "9" * 5000),
        ("null.toml", "a = '\0'"),
    ],
)
def test_documents_that_break_their_reader_are_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    done = shell(tmp_path, f"cluster validate {name}")
    assert "Traceback" not in done.stderr
    assert done.returncode == Exit.USAGE
    assert name in done.stderr


def test_what_the_system_refuses_is_told_with_the_place_and_a_way_out() -> None:
    error = of_this_machine(OSError(28, "No space left on device", "/runs/x/run.json"))
    assert error.exit_code is Exit.FAILED
    assert str(error).startswith("/runs/x/run.json: No space left on device\n  what to do: make room")
    assert "this machine says" in str(of_this_machine(OSError(5, "Input/output error")))


@pytest.mark.parametrize("after_s", [0, 0.02, 0.06, 0.1, 0.2, 0.4])
def test_ctrl_c_at_any_moment_is_130_and_silent(tmp_path: Path, after_s: float) -> None:
    process_tells = """
import sys
class Tell:
    def find_spec(self, name, *_):
        if name == "shoal.cli": print(flush=True)
sys.meta_path.insert(0, Tell())
from shoal.__main__ import main
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", process_tells, "artifacts", "list"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()  # Python itself has begun, and what the command needs is being loaded: all else is ours
    time.sleep(after_s)  # the moment that is tried
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    # It may have been over; and the last moments of a process, when Python has put its handler away, are the kernel's.
    assert process.returncode in (Exit.INTERRUPTED, Exit.OK, -signal.SIGINT)
