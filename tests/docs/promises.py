"""What README.md and the pages under docs/ promise, place by place, and what docs/evidence.md shows for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
EVIDENCE = "docs/evidence.md"
WHOLE = "(the page)"
_HEADING = re.compile(r"^#{2,4} (.+)$")
_STEP = re.compile(r"^\d+\. +(\S.*)$")
_BOLD_ROW = re.compile(r"^\| \*\*(.+?)\*\* \|")
_ROW = re.compile(r"^\| (?!---)(.+?) \| ")
_NODE = re.compile(r"tests/[\w/]+\.py(?:::\w+)?")
_GAP = re.compile(r"not shown: \*\*([^*]+)\*\*")
STEP_WORDS = 5
"""A numbered promise goes by so many of its first words."""
NUMBERED = ("README.md", "docs/architecture.md")
"""In these pages numbered lines are promises; elsewhere they are part of what their heading promises."""
EVERY_ROW = ("docs/faults.md",)
"""In these pages each row of a table is a promise; elsewhere those whose first cell is bold."""


def pages() -> list[str]:
    """All pages that promise something to a user."""
    found = [path for path in sorted((REPOSITORY / "docs").glob("*.md")) if path.name != Path(EVIDENCE).name]
    return ["README.md", *(str(path.relative_to(REPOSITORY)) for path in found)]


def promises(page: str, text: str) -> list[str]:
    """The places of a page that need evidence: headings, numbered promises and rows of tables."""
    found: list[str] = []
    for line in _prose(text):
        if heading := _HEADING.match(line):
            found.append(heading[1])
        elif page in NUMBERED and (step := _STEP.match(line)):
            found.append(" ".join(step[1].split()[:STEP_WORDS]))
        elif row := (_ROW if page in EVERY_ROW else _BOLD_ROW).match(line):
            found.append(row[1])
    return [_plain(place) for place in found if _plain(place) != "fault"] or [WHOLE]


def evidence(text: str) -> dict[str, dict[str, str]]:
    """By page and place, what is named as evidence. Raises ValueError where a place stands there twice."""
    found: dict[str, dict[str, str]] = {}
    page = None
    for line in text.splitlines():
        if heading := re.match(r"^## (.+)$", line):
            page = heading[1] if heading[1].endswith(".md") else None
        elif page and (row := re.match(r"^\| (?!place \||--)(.+?) \| (.*) \|$", line)):
            places = found.setdefault(page, {})
            if row[1] in places:
                raise ValueError(f"{page}: {row[1]!r} stands there twice")
            places[row[1]] = row[2]
    return found


def gaps(text: str) -> set[str]:
    """The names in the list of what is not shown."""
    _, _, part = text.partition("## What is not shown\n")
    return set(re.findall(r"^- \*\*([^*]+)\*\*", part, re.MULTILINE))


def faults(documents: Mapping[str, str], text: str) -> Iterator[str]:
    """What is wrong with the evidence `text` for the pages in `documents`, one line each."""
    shown, known_gaps, used_gaps = evidence(text), gaps(text), set()
    for page in shown.keys() - documents.keys():
        yield f"{EVIDENCE} has a section about {page}, which is not there"
    for page, content in documents.items():
        wanted, there = promises(page, content), shown.get(page, {})
        yield from (f"{page}: {place!r} has no evidence in {EVIDENCE}" for place in wanted if place not in there)
        yield from (f"{EVIDENCE}: {page} has no place {place!r} (any more)" for place in there if place not in wanted)
        for place, cell in there.items():
            nodes, named = _NODE.findall(cell), _GAP.findall(cell)
            used_gaps |= set(named)
            if not nodes and not named:
                yield f"{EVIDENCE}: {page}, {place!r}: neither a test nor a gap is named"
            yield from (f"{EVIDENCE}: {page}, {place!r}: there is no test {node}" for node in nodes if not exists(node))
            yield from (f"{EVIDENCE}: {page}, {place!r}: no gap {gap!r}" for gap in named if gap not in known_gaps)
    yield from (f"{EVIDENCE}: no promise names the gap {gap!r}" for gap in sorted(known_gaps - used_gaps))


def exists(node: str) -> bool:
    """Whether a test file is there, has tests, and has the one that is named."""
    path, _, name = node.partition("::")
    tests = _tests(path)
    return name in tests if name else bool(tests)


@cache
def _tests(path: str) -> frozenset[str]:
    file = REPOSITORY / path
    if not file.is_file():
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = (entry for entry in ast.walk(tree) if isinstance(entry, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(entry.name for entry in found if entry.name.startswith("test_"))


def _prose(text: str) -> Iterator[str]:
    code = False
    for line in text.splitlines():
        if line.startswith("```"):
            code = not code
        elif not code:
            yield line


def _plain(place: str) -> str:
    """A place as it is written in a cell of a table."""
    return place.replace("|", "/").strip().rstrip(":").strip()
