"""`shoal cluster`: a list of gateways from flags or questions, checked and shown; and the command's own manners."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.cli.cluster import document, parse_machine
from shoal.cluster import onprem
from shoal.cluster.document import parse
from shoal.errors import Exit, UsageError

SHOAL = [sys.executable, "-m", "shoal"]
GATES = ["--requester", "ops@10.0.0.2", "--compute", "gate-1=ops@10.0.0.3:2222", "--compute", "10.0.0.4"]


def shoal(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SHOAL, *arguments], cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("10.0.0.2", {"address": "10.0.0.2"}),
        ("ops@10.0.0.2", {"address": "10.0.0.2", "user": "ops"}),
        ("gate=ops@h.example:22", {"name": "gate", "address": "h.example", "user": "ops", "port": 22}),
        ("fd00::2", {"address": "fd00::2"}),
        ("ops@[fd00::2]:2222", {"address": "fd00::2", "user": "ops", "port": 2222}),
        ("[fd00::2]", {"address": "fd00::2"}),
    ],
)
def test_a_machine_is_read_as_people_write_it(text: str, fields: dict[str, object]) -> None:
    assert parse_machine(text) == fields


def test_a_port_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="the port 'ssh' is not a number"):
        parse_machine("ops@h:ssh")


def test_one_machine_may_play_both_roles() -> None:
    made = parse(document("one", "ops@h", ["ops@h"], "auto", "amd64"), source="test")
    assert [node.roles for node in made.nodes] == [("requester", "compute")]


def test_init_writes_a_file_that_reads_back(tmp_path: Path) -> None:
    done = shoal(tmp_path, "cluster", "init", "--name", "plant", *GATES)
    assert done.returncode == 0, done.stderr
    site = onprem.load(tmp_path / "onprem.toml")
    assert site.name == "plant"
    assert [(node.name, node.user, node.address, node.port) for node in site.nodes] == [
        ("requester", "ops", "10.0.0.2", 22),
        ("gate-1", "ops", "10.0.0.3", 2222),
        ("compute-2", "root", "10.0.0.4", 22),
    ]
    shown = shoal(tmp_path, "cluster", "show", "onprem.toml", "--json")
    assert parse(json.loads(shown.stdout), source="shown") == site
    assert "gate-1" in shoal(tmp_path, "cluster", "show", "onprem.toml").stdout


def test_init_never_replaces_a_file_unasked(tmp_path: Path) -> None:
    (tmp_path / "onprem.toml").write_text("mine")
    done = shoal(tmp_path, "cluster", "init", "--name", "plant", *GATES)
    assert done.returncode == Exit.USAGE
    assert (tmp_path / "onprem.toml").read_text() == "mine"
    assert shoal(tmp_path, "cluster", "init", "--name", "plant", *GATES, "--force").returncode == 0


def test_init_names_every_fault_and_writes_nothing(tmp_path: Path) -> None:
    done = shoal(tmp_path, "cluster", "init", "--name", "Plant!", "--requester", "OPS@h", "--compute", "a.b=h")
    assert done.returncode == Exit.USAGE
    for where in ("name:", "nodes[0].user:", "nodes[1].name:"):
        assert where in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_asks_on_a_terminal(tmp_path: Path) -> None:
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [*SHOAL, "cluster", "init"], cwd=tmp_path, stdin=terminal, stdout=terminal, stderr=terminal, close_fds=True
    )
    os.close(terminal)
    os.write(main, b"depot\nops@10.0.0.2\ngate=ops@10.0.0.3\n\n")
    said = b""
    while True:
        try:
            said += os.read(main, 4096)
        except OSError:  # the terminal's end: the program is done
            break
    assert process.wait(timeout=30) == 0, said.decode()
    assert b"Name of the cluster" in said
    assert [node.name for node in onprem.load(tmp_path / "onprem.toml").nodes] == ["requester", "gate"]


def test_without_flags_and_without_a_terminal_it_says_what_is_needed(tmp_path: Path) -> None:
    done = shoal(tmp_path, "cluster", "init")
    assert done.returncode == Exit.USAGE
    assert "--requester" in done.stderr


def test_validate_tells_faults_with_the_documented_code(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"name": "x", "substrate": "lab", "nodes": []}')
    done = shoal(tmp_path, "cluster", "validate", "bad.json")
    assert done.returncode == Exit.USAGE
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--nonsense"], ["nonsense"], ["run", "--stride", "0"], ["lab", "up", "x"]])
def test_bad_usage_is_code_2(tmp_path: Path, arguments: list[str]) -> None:
    done = shoal(tmp_path, *arguments)
    assert done.returncode == Exit.USAGE
    assert "Traceback" not in done.stderr
