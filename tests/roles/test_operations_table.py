"""The table of docs/roles.md that says why operations are our own names every one, and operations that pyinfra has."""

from __future__ import annotations

import importlib
import re

import pytest
from test_roles_rules import operations

from shoal.paths import repository

ROW = re.compile(r"^\| (?P<ours>`.*?) \| (?P<theirs>.*?) \| (?P<adds>.+) \|$")


def rows() -> list[tuple[list[str], list[str]]]:
    """Our operations and pyinfra's, row by row."""
    text = (repository() / "docs" / "roles.md").read_text(encoding="utf-8")
    table = text.partition("## Our operations and pyinfra's")[2]
    found = [match for line in table.splitlines() if (match := ROW.match(line))]
    return [(re.findall(r"`([^`]+)`", one["ours"]), re.findall(r"`([^`]+)`", one["theirs"])) for one in found]


def test_every_operation_of_ours_stands_in_the_table_once():
    named = [name for ours, _ in rows() for name in ours]
    assert sorted(named) == sorted(operations())


@pytest.mark.parametrize("name", sorted({name for _, theirs in rows() for name in theirs}))
def test_pyinfra_has_the_operations_that_ours_are_held_against(name):
    module, _, operation = name.partition(".")
    assert hasattr(getattr(importlib.import_module(f"pyinfra.operations.{module}"), operation), "_inner")
