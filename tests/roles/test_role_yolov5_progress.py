"""A long script says what it is at while it runs, ends with its own code, and leaves nothing behind."""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path

import pytest

from roles.yolov5.follow import followed
from shoal.deploys.log import Log

DEBOOTSTRAP = "".join(f"I: Retrieving p{number} 1.0\n" for number in range(30)) + "I: Extracting p0...\n"
BUILD = "Step 1/2 : FROM base\n ---> 0a1b\nCollecting numpy\nStep 2/2 : RUN true\n"


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    text = followed(script, str(folder / "build")).get_raw_value()
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False, timeout=60)


def test_stages_are_told_while_the_script_is_at_work(tmp_path: Path) -> None:
    """The script goes on only when the last stage that it logged was told: nothing is held back to the end."""
    for name, text in (("one", DEBOOTSTRAP), ("two", BUILD)):
        (tmp_path / name).write_text(text)
    script = f"""
        set -eu
        folder={shlex.quote(str(tmp_path / "build"))}
        cat {shlex.quote(str(tmp_path / "one"))} >"$folder/debootstrap.log"
        cat {shlex.quote(str(tmp_path / "two"))} >"$folder/build.log"
        until [ -e {shlex.quote(str(tmp_path / "seen"))} ]; do sleep 0.05; done
        echo done
        exit 7
    """
    text = followed(script, str(tmp_path / "build")).get_raw_value()
    with subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line.strip())
            if {"progress: base: Extracting packages (0 so far)", "progress: image: Step 2/2 : RUN true"} <= set(told):
                (tmp_path / "seen").touch()
        assert process.wait(timeout=30) == 7
    assert "progress: base: Retrieving packages (25 so far)" in told
    assert "progress: image: Collecting numpy" in told
    assert told[-1] == "done"


@pytest.mark.parametrize("code", [0, 3])
def test_the_code_and_the_traps_are_the_scripts_own(tmp_path: Path, code: int) -> None:
    begun = time.monotonic()
    done = run(tmp_path, f"set -eu\ntrap 'echo tidied' EXIT\nexit {code}")
    assert (done.returncode, done.stdout) == (code, "tidied\n")
    assert time.monotonic() - begun < 5


def test_a_log_of_an_earlier_build_is_not_told_again(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "build.log").write_text(BUILD)
    assert run(tmp_path, "sleep 0.3").stdout == ""


def test_the_deploys_log_passes_progress_on_and_keeps_it_out_of_a_failures_words() -> None:
    said: list[str] = []
    log = Log(said.append)
    for line in (
        "--> Starting operation: yolov5 | Get the base of the image",
        "    [requester] progress: base: Retrieving packages (25 so far)",
        "    [requester] no space left on device",
        "    [requester] Error: executed 1 commands",
    ):
        log.feed(line)
    assert said[0].startswith("  requester: base: Retrieving packages (25 so far) (")
    assert "no space left" in log.errors["requester"]
    assert "progress" not in log.errors["requester"]
