"""The house is as its map says: no import beyond the contract, no circle, and the map in the docs is the contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from rooms import BEGIN, END, REPOSITORY, Room, contract, faults, graph, room_of, table, upward


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    return graph()


def test_the_code_imports_what_the_contract_allows_and_nothing_else(imports: dict[str, set[str]]) -> None:
    assert faults(imports, contract()) == []


def test_the_contract_has_no_arrow_that_runs_up() -> None:
    assert upward(contract()) == []


def test_every_room_has_modules(imports: dict[str, set[str]]) -> None:
    used = {room.name for module in imports if (room := room_of(module, contract()))}
    assert [room.name for room in contract() if room.name not in used] == []


def test_the_map_in_the_docs_is_the_contract() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    shown = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == table(contract()), "run `./just rooms`"


@pytest.mark.parametrize(
    ("module", "target", "said"),
    [
        ("shoal.cluster.document", "shoal.deploys.run", "shoal.deploys"),
        ("shoal.results.fetch", "shoal.cli.console", "shoal.cli"),
        ("shoal.errors", "shoal.cluster.document", "shoal.cluster"),
        ("roles.docker.config", "roles.bacalhau.config", "do not import each other"),
        ("roles.docker.config", "shoal.run.start", "shoal.run"),
        ("shoal_detect.read.decode", "shoal.errors", "ground"),
        ("shoal.results.fetch", "shoal_detect.errors", "detector/ground"),
        ("stacks.gcp.program", "shoal.lifecycle.verbs", "shoal.lifecycle"),
        ("shoal.newcomer", "shoal.errors", "has no room"),
    ],
)
def test_an_import_that_is_put_in_is_found(imports: dict[str, set[str]], module: str, target: str, said: str) -> None:
    with_it = {**imports, module: {*imports.get(module, ()), target}}
    found = [fault for fault in faults(with_it, contract()) if module in fault]
    assert found, "nothing was found"
    assert said in found[0]


def test_a_circle_is_found(imports: dict[str, set[str]]) -> None:
    inside = {**imports, "shoal.files": {*imports["shoal.files"], "shoal.locks"}, "shoal.locks": {"shoal.files"}}
    assert [fault for fault in faults(inside, contract()) if "circle" in fault] == [
        "a circle of imports: shoal.files -> shoal.locks"
    ]


def test_the_graph_is_read_from_the_source_and_from_lazy_imports_too(tmp_path: Path) -> None:
    package = tmp_path / "harbour"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "low.py").write_text("def late():\n    from harbour import high\n    return high\n")
    (package / "high.py").write_text("import harbour.low\n")
    drawn = graph(tmp_path, ["harbour"])
    rooms = [Room("low", ("harbour", "harbour.low"), "", ()), Room("high", ("harbour.high",), "", ("low",))]
    assert faults(drawn, rooms) == [
        "a circle of imports: harbour.high -> harbour.low",
        "harbour.low (low) imports harbour.high (high), which it may not",
    ]
