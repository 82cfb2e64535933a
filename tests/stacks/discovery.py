"""Checks a request against the vendor's discovery document of that API: fields, types, enums, patterns, required."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


@lru_cache
def document(api: str) -> dict[str, Any]:
    """The discovery document of an API as the vendor's client carries it: `compute.v1`, `iam.v1`."""
    folder = importlib.resources.files("googleapiclient") / "discovery_cache" / "documents"
    found: dict[str, Any] = json.loads((folder / f"{api}.json").read_text(encoding="utf-8"))
    return found


def faults(api: str, schema: str, request: dict[str, Any], method: str | None = None) -> list[str]:
    """Everything in `request` that the API's document does not know, and what `method` requires and is not there."""
    return list(_object(document(api), document(api)["schemas"][schema], request, schema, method))


def _object(api: dict[str, Any], schema: dict[str, Any], value: dict[str, Any], at: str, method: str | None) -> Any:
    known, free = schema.get("properties", {}), schema.get("additionalProperties")
    for name, inner in value.items():
        if name in known:
            yield from _value(api, known[name], inner, f"{at}.{name}")
        elif free is not None:
            yield from _value(api, free, inner, f"{at}.{name}")
        else:
            yield f"{at}: there is no field {name}"
    for name, entry in known.items():
        if method and method in entry.get("annotations", {}).get("required", []) and name not in value:
            yield f"{at}.{name} is required by {method}"


def _value(api: dict[str, Any], schema: dict[str, Any], value: Any, at: str) -> Iterator[str]:
    if reference := schema.get("$ref"):
        schema = api["schemas"][reference]
    kind = schema.get("type")
    if kind == "object":
        if isinstance(value, dict):
            yield from _object(api, schema, value, at, None)
        else:
            yield f"{at} must be an object, not {value!r}"
    elif kind == "array":
        if isinstance(value, list):
            for index, entry in enumerate(value):
                yield from _value(api, schema["items"], entry, f"{at}[{index}]")
        else:
            yield f"{at} must be a list, not {value!r}"
    elif kind in KINDS:
        if not isinstance(value, KINDS[kind]) or (kind == "integer" and isinstance(value, bool)):
            yield f"{at} must be a {kind}, not {value!r}"
        elif (allowed := schema.get("enum")) and value not in allowed:
            yield f"{at} must be one of {', '.join(allowed)}, not {value!r}"
        elif (pattern := schema.get("pattern")) and not re.fullmatch(pattern, value):
            yield f"{at} must match {pattern}, not {value!r}"
