"""What messages tell a person to type can be typed: every command in them exists and has the flags that they name."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from shoal.cli import app

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("shoal", "roles", "deploy") for path in (REPOSITORY / room).rglob("*.py"))
# `shoal ...` or `./just shoal ...` between backticks, up to the closing one.
COMMAND = re.compile(r"`(?:\./just )?shoal ([^`]+)`")
BARE = re.compile(r"(?<![\w/=.-])--[a-z][a-z-]+[a-z]")
PYINFRA = re.compile(r"\(pyinfra: [^)]*\)")
"""How a message names the same for those who drive pyinfra themselves."""
FOREIGN = frozenset(
    {"--configure", "--restart", "--permanent", "--add-rich-rule", "--reload", "--dport", "--now", "--bind"}
)
"""Flags of other programs whose commands messages show whole (dpkg, docker, firewall-cmd, iptables, mount)."""
PLACE = "X"


def text_of(node: ast.AST) -> str:
    """A text as it is written, with placeholders for what is put in when it runs; empty where it is none."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else PLACE for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module that is no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            inner.add(id(node.value))  # a docstring
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if id(node) not in inner and (text := text_of(node)):
            yield node.lineno, text  # type: ignore[attr-defined]


def walk(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words lead to, and the words that are left."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        found = command.get_command(typer.Context(command), name)
        assert found is not None, f"no command {name!r}"
        command = found
    return command, rest


def flags(command: Any) -> set[str]:
    named = {opt for parameter in command.params for opt in (*parameter.opts, *parameter.secondary_opts)}
    return {*named, "--help"}


def every_flag(command: Any) -> set[str]:
    found = flags(command)
    if isinstance(command, TyperGroup):
        context = typer.Context(command)
        for name in command.list_commands(context):
            found |= every_flag(command.get_command(context, name))
    return found


COMMANDS = [
    (f"{path.relative_to(REPOSITORY)}:{line}", match)
    for path in SOURCES
    for line, text in texts(path)
    for match in COMMAND.findall(text)
]


def test_the_commands_in_messages_are_found() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize(("place", "line"), COMMANDS, ids=[f"{place} {line[:50]}" for place, line in COMMANDS])
def test_a_command_in_a_message_exists_with_its_flags(place: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] == PLACE:
        return  # the verb itself is put in
    command, rest = walk([word for word in words if word != "..."])
    rest = rest[: rest.index("--")] if "--" in rest else rest  # what follows is for another program
    named = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert named <= flags(command), f"{place}: `shoal {line}` has no {', '.join(sorted(named - flags(command)))}"


ROOMS = {
    "shoal/lab/cut.py": ["lab cut", "lab mend"],
    "shoal/lab": ["lab up", "lab down", "lab ssh", "lab logs", "lab status", "demo", "demo-down"],
    "shoal/demo": ["demo", "demo-down"],
    "shoal/run": ["run"],
    "shoal/check": ["site check", "site deploy", "nodes add", "site prepare"],
    "roles/": ["site deploy", "site teardown", "nodes add", "nodes remove", "bootstrap"],
    "shoal/mesh": ["mesh on", "mesh off", "site deploy", "site teardown", "bootstrap"],
    "shoal/cli/site.py": ["site check", "site deploy", "site prepare", "site teardown", "site allow"],
    "shoal/cli/cluster.py": ["cluster init", "cluster host-keys", "cluster show", "cluster validate", "cluster where"],
    "shoal/cli/nodes.py": ["nodes add", "nodes drain", "nodes remove", "nodes list", "nodes approve"],
}
"""A flag that is named without its command is one of the verbs that can say so."""


TELLERS = frozenset(
    {"UsageError", "ShoalError", "RefusedError", "DamagedDocumentError", "Fault", "Finding", "say"}
    | {"failure", "refusal", "consent", "warning", "note", "error_from"}
)
"""What messages for a person are given to."""


def bare() -> Iterator[tuple[str, str, str]]:
    """Flags in messages without their command."""
    for path in SOURCES:
        name = str(path.relative_to(REPOSITORY))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if called not in TELLERS:
                continue
            inner = {id(part) for text in ast.walk(call) if isinstance(text, ast.JoinedStr) for part in text.values}
            for part in ast.walk(call):
                if id(part) not in inner and (text := text_of(part)):
                    text = PYINFRA.sub("", re.sub(r"`[^`]*`", "", text))
                    for flag in set(BARE.findall(text)) - FOREIGN:
                        yield f"{name}:{part.lineno}", name, flag  # type: ignore[attr-defined]


@pytest.mark.parametrize(("place", "name", "flag"), sorted(set(bare())))
def test_a_flag_in_a_hint_is_one_of_the_verbs_that_say_it(place: str, name: str, flag: str) -> None:
    verbs = next((verbs for room, verbs in ROOMS.items() if name.startswith(room)), None)
    if name in {"shoal/deploys/inventory.py", "roles/common/job.py"}:
        return  # said by pyinfra's own command, about its flags
    if verbs is None:
        allowed = every_flag(typer.main.get_command(app))
    else:
        allowed = set().union(*(flags(walk(verb.split())[0]) for verb in verbs))
    assert flag in allowed, f"{place}: no verb that says this has {flag}"


@pytest.mark.parametrize("recipe", ["shoal", "register"])
def test_a_bad_end_closes_with_our_own_words(recipe: str, tmp_path: Path) -> None:
    """just's own `Recipe failed on line N` says nothing to a person who typed a command of ours."""
    import subprocess

    words = ["cluster", "show", str(tmp_path / "missing.json")] if recipe == "shoal" else ["--requester", "x"]
    done = subprocess.run(
        [REPOSITORY / "just", recipe, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 2
    assert "ecipe" not in done.stderr, done.stderr


def test_every_recipe_for_people_is_silent_about_itself() -> None:
    text = (REPOSITORY / "Justfile").read_text(encoding="utf-8")
    blocks = re.findall(r'\[group\("(?:demo|stacks|use)"\)\]\n((?:\[.*\]\n)*)(\S+)', text)
    assert blocks
    assert [name for attributes, name in blocks if "[no-exit-message]" not in attributes] == []
