"""Every command that the documentation shows exists, with the flags it shows, and every link leads somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from shoal.cli import app

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "SECURITY.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)")
PAGE_NAME = re.compile(r"`(docs/[a-z0-9-]+\.md)`")

# Programs that are the reader's own, not ours to check.
THEIRS = {
    "ssh",
    "ssh-keyscan",
    "ssh-keygen",
    "git",
    "cd",
    "export",
    "apt-get",
    "cp",
    "xdg-open",
    "cat",
    "ls",
    "docker",
    "$EDITOR",
    "gcloud",
}


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                text = line.strip()
                if text and not text.startswith("#"):
                    yield page.name, text


def recipes() -> set[str]:
    just = REPOSITORY / ".venv" / "bin" / "just"
    found = subprocess.run(
        [str(just), "--justfile", str(REPOSITORY / "Justfile"), "--summary"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(found.stdout.split())


def check_shoal(words: list[str]) -> None:
    """Walks to the sub-command and checks each flag and the number of arguments."""
    command = typer.main.get_command(app)
    rest = list(words)
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        found = command.get_command(typer.Context(command), name)
        assert found is not None, f"no command {name!r}"
        command = found
    if rest and rest[0] in {"--help", "-h", "--version"}:
        return
    assert not isinstance(command, TyperGroup), "a group, not a command"
    context = typer.Context(command, resilient_parsing=False)
    if "--" in rest:  # what follows is for another program
        rest = [*rest[: rest.index("--")], "x"]
    parser = command.make_parser(context)
    parser.parse_args(args=rest)  # raises NoSuchOption, BadOptionUsage


COMMANDS = list(commands())


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page}: {line[:60]}" for page, line in COMMANDS])
def test_a_command_in_the_docs_exists_with_its_flags(page: str, line: str) -> None:
    words = [word for word in shlex.split(line, comments=True) if word not in {"sudo", "time"}]
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    program, rest = words[0], words[1:]
    if program == "./just":
        recipe = rest.pop(0) if rest else "list"
        if recipe.startswith("-"):
            return
        assert recipe in recipes() | {"list"}, f"{page}: no recipe {recipe!r}"
        program = {"shoal": "shoal", "pyinfra": "pyinfra", "register": "register", "demo": "demo"}.get(recipe, "")
        prefix = {"register": ["cluster", "init"], "demo": ["demo"], "shoal": []}.get(recipe, [])
        rest = [*prefix, *rest]
        if recipe in {"demo-down", "up", "bootstrap", "drift", "destroy", "demo-cloud"}:
            program, rest = "shoal", [recipe, *rest]
        if recipe == "run":
            program, rest = "shoal", ["run", *rest[1:]]
    if program in {"shoal", "register", "demo"}:
        check_shoal(rest)
    elif program == "pyinfra":
        for word in rest:
            if word.endswith(".py"):
                assert (REPOSITORY / word).is_file(), f"{page}: {word} is not there"
    elif program:
        assert program in THEIRS, f"{page}: what is {program!r}?"


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) > 20
    assert {page for page, _ in COMMANDS} >= {"README.md", "lab.md", "onprem.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_page_names_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
    for name in PAGE_NAME.findall(text):
        assert (REPOSITORY / name).is_file(), f"{page.name}: {name}"


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb of the command line, by its words."""
    if isinstance(command, TyperGroup):
        context = typer.Context(command)
        for name in command.list_commands(context):
            yield from leaves(command.get_command(context, name), (*words, name))
    else:
        yield words, command


VERBS = dict(leaves(typer.main.get_command(app)))


def test_the_reference_names_every_verb_and_no_other() -> None:
    text = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    named: set[tuple[str, ...]] = set()
    for row in re.findall(r"^\| (`shoal .*?) \|", text, re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", row)
        words = tuple(first.split()[1:])
        named.add(words)
        named |= {(*words[:-1], other) for other in others}
    assert named == set(VERBS)


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_verbs_help_has_an_example_that_can_be_typed(words: tuple[str, ...]) -> None:
    text = VERBS[words].help or ""
    assert "Example" in text
    examples = re.findall(r"^(?:Examples?: *)?`?shoal ([^;`\n|>]+)", text.partition("Example")[2], re.MULTILINE)
    examples = examples or re.findall(r"shoal ([^;`\n|>]+)", text.partition("Example")[2])
    assert examples
    for example in examples:
        check_shoal(shlex.split(example))


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_verbs_help_is_about_that_verb(words: tuple[str, ...]) -> None:
    names = {option for parameter in VERBS[words].params for option in parameter.opts}
    assert not {"--install-completion", "--show-completion"} & names, "the shell is the matter of `shoal --help`"


def test_every_variable_of_the_environment_is_documented() -> None:
    # Those that recipes, the build and jobs hand over to themselves are nobody's to set.
    own = {"SHOAL_PACKAGES", "SHOAL_DOWNLOADS", "SHOAL_SUBSTRATE", "SHOAL_STACKS", "SHOAL_WEIGHTS_NAME"}
    sources = [
        REPOSITORY / "just",
        *(path for room in ("shoal", "roles") for path in (REPOSITORY / room).rglob("*.py")),
    ]
    read = {name for path in sources for name in re.findall(r"\bSHOAL_[A-Z]+(?:_[A-Z]+)*\b", path.read_text("utf-8"))}
    told = {name for page in PAGES for name in re.findall(r"\bSHOAL_[A-Z]+(?:_[A-Z]+)*\b", page.read_text("utf-8"))}
    assert read - own <= told
    tests = {
        name
        for path in (REPOSITORY / "tests").rglob("*.py")
        for name in re.findall(r"\bSHOAL_[A-Z_]+\b", path.read_text("utf-8"))
    }
    assert told <= read | tests


def test_every_field_of_the_cluster_document_is_documented() -> None:
    from shoal.cluster.document import Cluster, Node, SshAccess

    text = (REPOSITORY / "docs" / "cluster-document.md").read_text(encoding="utf-8")
    rows = " ".join(re.findall(r"^\| (.*?) \|", text, re.MULTILINE))
    for model in (Cluster, SshAccess, Node):
        for name in model.model_fields:
            assert re.search(rf"\b{name}\b", rows), f"{model.__name__}.{name}"


def test_exit_codes_are_documented() -> None:
    from shoal.errors import Exit

    text = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    for code in Exit:
        assert re.search(rf"^\| {code.value} \|", text, re.MULTILINE), f"exit code {code.value} is not in docs/cli.md"
