"""The contract of docs/rooms.toml, the import graph of the code, and what the one says of the other."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grimp

REPOSITORY = Path(__file__).resolve().parents[2]
CONTRACT = REPOSITORY / "docs" / "rooms.toml"
PACKAGES = ("shoal", "roles", "stacks", "deploy", "inventories", "outbox", "shoal_detect")
BEGIN, END = "<!-- rooms: made from docs/rooms.toml by `./just rooms` -->", "<!-- rooms end -->"

Imports = Mapping[str, Iterable[str]]
"""Each module and the modules that it imports, lazily or not."""


@dataclass(frozen=True, slots=True)
class Room:
    """One entry of the contract."""

    name: str
    modules: tuple[str, ...]
    holds: str
    imports: tuple[str, ...]
    apart: bool = False
    """Its modules do not import each other: each is a room by itself."""


def contract(path: Path = CONTRACT) -> list[Room]:
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["room"]
    return [
        Room(**{**entry, "modules": tuple(entry["modules"]), "imports": tuple(entry["imports"])}) for entry in entries
    ]


def graph(root: Path = REPOSITORY, packages: Sequence[str] = PACKAGES) -> dict[str, set[str]]:
    """The imports of the packages under `root` and its `detector` folder, read from the source."""
    before, sys.path[:0] = list(sys.path), [str(root), str(root / "detector")]
    try:
        drawn = grimp.build_graph(*packages, cache_dir=None)
    finally:
        sys.path[:] = before
    return {module: drawn.find_modules_directly_imported_by(module) for module in drawn.modules}


def room_of(module: str, rooms: Sequence[Room]) -> Room | None:
    """The room with the longest name that the module is or lies below of; a bare package stands for itself alone."""
    exact = {name: room for room in rooms for name in room.modules}
    name = module
    while name:
        if name in exact and (name == module or "." in name or exact[name].modules == (name,)):
            return exact[name]
        name = name.rpartition(".")[0]
    return None


def faults(imports: Imports, rooms: Sequence[Room]) -> list[str]:
    """Every import that the contract does not allow, every module without a room, every circle; sorted."""
    found = []
    for module, targets in imports.items():
        here = room_of(module, rooms)
        if here is None:
            found.append(f"{module} has no room in docs/rooms.toml")
            continue
        for target in targets:
            there = room_of(target, rooms)
            if there is None:
                continue  # reported as a module
            if there is here:
                if here.apart and _unit(module, here) != _unit(target, here):
                    found.append(f"{module} imports {target}: {here.name} do not import each other")
            elif "*" not in here.imports and there.name not in here.imports:
                found.append(f"{module} ({here.name}) imports {target} ({there.name}), which it may not")
    found += [f"a circle of imports: {' -> '.join(circle)}" for circle in circles(imports)]
    return sorted(found)


def upward(rooms: Sequence[Room]) -> list[str]:
    """Arrows of the contract itself that run to a later entry: the file is in the order of the floors."""
    floor = {room.name: number for number, room in enumerate(rooms)}
    return [
        f"{room.name} may import {name}, which " + ("stands above it" if name in floor else "is no room")
        for room in rooms
        for name in room.imports
        if name != "*" and floor.get(name, len(rooms)) >= floor[room.name]
    ]


def circles(imports: Imports) -> list[list[str]]:
    """Groups of modules that reach each other. A package and its own `__init__` count like any module."""
    reach: dict[str, set[str]] = {}
    for start in imports:
        seen, left = set(), list(imports[start])
        while left:
            module = left.pop()
            if module not in seen and module in imports:
                seen.add(module)
                left += imports[module]
        reach[start] = seen
    groups = {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in imports
        if module in reach[module]
    }
    return sorted(sorted(group) for group in groups)


def table(rooms: Sequence[Room]) -> str:
    """The table of docs/architecture.md."""
    rows = ["| room | what lives there | may import |", "| --- | --- | --- |"]
    for room in rooms:
        may = (
            ", ".join("every room" if name == "*" else f"`{name}`" for name in room.imports)
            or "third-party packages only"
        )
        rows.append(f"| `{room.name}` | {room.holds} | {may} |")
    return "\n".join(rows)


def _unit(module: str, room: Room) -> str:
    return next(name for name in room.modules if module == name or module.startswith(f"{name}."))
