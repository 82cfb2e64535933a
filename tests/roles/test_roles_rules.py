"""Rules that hold for every role and deploy file, read from their source."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from shoal.paths import repository

ROLES = sorted(path.parent.name for path in (repository() / "roles").glob("*/defaults.py"))
SOURCES = sorted(
    [
        *(path for path in (repository() / "roles").rglob("*.py") if path.parent.name != "files"),
        *(repository() / "deploy").glob("*.py"),
    ]
)
SHELL = re.compile(r'\$\(|\$[a-z"{]|2>/dev/null|(^|; )set -e| \|\| | && |; then|; do ')
"""What only shell has."""
PYINFRA_MODULES = {"apt", "files", "server", "systemd", "docker", "python"}


def operations() -> set[str]:
    """Names of every operation of ours."""
    return {
        node.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and any("operation" in ast.dump(entry) for entry in node.decorator_list)
    }


def calls(path: Path) -> list[ast.Call]:
    """Calls of operations, ours and pyinfra's, in one file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyinfra.operations")
        for alias in node.names
    }
    ours = operations()
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        named = isinstance(node.func, ast.Name) and node.func.id in ours
        theirs = (
            isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in imported & PYINFRA_MODULES
        )
        if named or theirs:
            found.append(node)
    return found


def test_the_roles_are_found():
    assert [
        *(
            "bacalhau",
            "base",
            "docker",
            "firewall",
            "outbox",
            "recorder",
            "registry",
            "tailscale",
            "videos",
            "watch",
            "yolov5",
        )
    ] == ROLES
    assert {"packages", "service", "clips", "image", "pulled"} <= operations()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(repository())))
def test_every_operation_has_a_name(path):
    unnamed = [call.lineno for call in calls(path) if not any(keyword.arg == "name" for keyword in call.keywords)]
    assert unnamed == []


def test_the_rule_sees_an_operation_without_a_name(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("from pyinfra.operations import apt\napt.packages(packages=['x'])\nbarrier()\n", encoding="utf-8")
    assert len(calls(bad)) == 2


def shell_programs(path: Path) -> list[int]:
    """Lines of string literals in a file that are shell of more than two lines, or of many commands."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        commands = len(re.findall(r"; |;\n| && | \|\| |\n(?=\S)", text))
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if SHELL.search(text) and (lines > 3 or commands > 6 or text.count("\n") > 2):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(repository())))
def test_shell_of_more_than_two_lines_is_a_file_that_shellcheck_reads(path):
    assert shell_programs(path) == []


def test_the_rule_sees_a_shell_program_in_a_string(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        'X = """set -e\nfor p in a; do\n  [ -e "$p" ] || echo "$p"\ndone\n"""\nY = "for p in a; do echo $p; done"\n',
        encoding="utf-8",
    )
    assert shell_programs(bad) == [1]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_imports_no_other_role(role):
    for path in (repository() / "roles" / role).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("roles"):
                assert node.module == "roles" or node.module.split(".")[1] in {role, "common"}, path


@pytest.mark.parametrize("role", ROLES)
def test_every_knob_has_the_roles_prefix_and_its_text(role):
    tree = ast.parse((repository() / "roles" / role / "defaults.py").read_text(encoding="utf-8"))
    model = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.lower() == role)
    for index, node in enumerate(model.body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assert node.target.id.startswith(f"{role}_")
            following = model.body[index + 1]
            assert isinstance(following, ast.Expr), f"{node.target.id} has no text"
            assert isinstance(following.value, ast.Constant)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_install_and_remove(role):
    module = __import__(f"roles.{role}", fromlist=["install"])
    assert callable(module.install)
    assert callable(module.remove)
