"""What the vendor's provider does with a changed field, by the table that was read in its source."""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

TABLE = Path(__file__).parent / "provider_fields.toml"
When = Literal["always", "never", "shrinks", "count"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a resource: when its change forces a new one, and where in the provider's source that stands."""

    when: When
    file: str
    at: int


@dataclass(frozen=True, slots=True)
class Change:
    """One changed field, and whether it forces a new resource."""

    path: str
    replaces: bool


class UnknownFieldError(KeyError):
    """The table has no row for a field: nobody has looked up what its change does."""


@lru_cache
def table() -> dict[str, dict[str, Field]]:
    """Type token and field path, with its row."""
    types = tomllib.loads(TABLE.read_text(encoding="utf-8"))["types"]
    return {token: {path: Field(**row) for path, row in rows.items()} for token, rows in types.items()}


def changes(token: str, before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """The fields that differ, by the table. Raises UnknownFieldError for one that has no row."""
    return sorted(_changes(token, "", before, after), key=lambda change: change.path)


def _changes(token: str, path: str, before: Any, after: Any) -> Iterator[Change]:
    """An absent block is an empty one, as in the provider. What has only a row for the whole is compared as a whole."""
    if (before or None) == (after or None) and not (isinstance(before, bool) or isinstance(after, bool)):
        return
    if before == after:
        return
    rows = table()[token]
    inner = any(known.startswith(f"{path}.") for known in rows) if path else True
    if not inner or not _blocks(before) or not _blocks(after):
        yield Change(path, _replaces(token, path, before, after))
        return
    olds, news = _listed(before), _listed(after)
    if len(olds) != len(news):
        yield Change(path, _replaces(token, path, before, after))
        return
    for old, new in zip(olds, news, strict=True):
        for key in {*old, *new}:
            if not key.startswith("__"):
                yield from _changes(token, f"{path}.{key}" if path else key, old.get(key), new.get(key))


def _replaces(token: str, path: str, before: Any, after: Any) -> bool:
    row = table()[token].get(path)
    if row is None:
        raise UnknownFieldError(f"{token}: {path}")
    if row.when == "shrinks":
        return _shrinks(before, after)
    return row.when in ("always", "count")


def _shrinks(before: Any, after: Any) -> bool:
    if isinstance(before, str):
        return not ipaddress.ip_network(before).subnet_of(ipaddress.ip_network(after))  # type: ignore[arg-type]
    return bool(after < before)


def _blocks(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and all(isinstance(entry, dict) for entry in value))


def _listed(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else [value]
