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
HINTS = frozenset({"hint", "todo", "faults", "help"})
OTHERS = re.compile(
    r"(apt-get|apt|docker|systemctl|dpkg|ufw|firewall-cmd|iptables|nft|mount|gcloud|pulumi|tailscale|journalctl|useradd"
    r"|usermod|snap|ssh-keygen|pip|just|go|npm|machine-id|dockerd|headscale)\b[^`;]*"
)
PLACE = "X"


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module that is no docstring, with placeholders for what is put in when it runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inner.add(id(node.value))  # a docstring
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in node.values}
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else PLACE for part in node.values),
            )
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.lineno, node.value


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
    named = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert named <= flags(command), f"{place}: `shoal {line}` has no {', '.join(sorted(named - flags(command)))}"


ROOMS = {
    "shoal/lab": ["lab up", "lab down", "lab ssh", "lab logs", "lab status", "demo", "demo-down"],
    "shoal/demo": ["demo", "demo-down"],
    "shoal/run": ["run"],
    "shoal/check": ["site check", "site deploy", "nodes add", "site prepare"],
    "shoal/mesh": ["mesh on", "mesh off", "site deploy", "site teardown", "bootstrap"],
    "shoal/cli/site.py": ["site check", "site deploy", "site prepare", "site teardown"],
    "shoal/cli/cluster.py": ["cluster init", "cluster host-keys", "cluster show", "cluster validate", "cluster where"],
    "shoal/cli/nodes.py": ["nodes add", "nodes drain", "nodes remove", "nodes list", "nodes approve"],
}
"""A flag that is named without its command is one of the verbs that can say so."""


def bare() -> Iterator[tuple[str, str, str]]:
    """Flags in hints without their command: what a person reads after `what to do`."""
    for path in SOURCES:
        name = str(path.relative_to(REPOSITORY))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            for keyword in node.keywords:
                if keyword.arg != "hint":
                    continue
                for part in ast.walk(keyword.value):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        text = OTHERS.sub("", re.sub(r"`[^`]*`", "", part.value))
                        for flag in BARE.findall(text):
                            yield f"{name}:{part.lineno}", name, flag


@pytest.mark.parametrize(("place", "name", "flag"), list(bare()))
def test_a_flag_in_a_hint_is_one_of_the_verbs_that_say_it(place: str, name: str, flag: str) -> None:
    verbs = next((verbs for room, verbs in ROOMS.items() if name.startswith(room)), None)
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
