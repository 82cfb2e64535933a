"""Reads the documents of a run's folder with distrust: they may be damaged or half fetched.

Reading never raises for that, it tells.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shoal.cluster.document import field_faults

DocumentT = TypeVar("DocumentT", bound=BaseModel)


def read_document(path: Path, kind: type[DocumentT], notes: list[str]) -> DocumentT | None:
    """The document at `path`; None, with the reason appended to `notes`, where it is missing or damaged."""
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
        return kind.model_validate(_printable(value))
    except FileNotFoundError:
        notes.append(f"{path.name} is missing")
    except ValidationError as error:
        faults = [str(fault) for fault in field_faults(error)] or [entry["msg"] for entry in error.errors()]
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        notes.append(f"{path.name} is damaged: {faults[0]}{more}")
    except (OSError, ValueError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
    return None


def inside(folder: Path, relative: str) -> Path | None:
    """`folder/relative`, or None where that would leave the folder (`..`, absolute paths, links)."""
    if "\0" in relative:
        return None
    path = (folder / relative).resolve()
    return path if path.is_relative_to(folder.resolve()) else None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a figure")
    return value


def _printable(value: Any) -> Any:
    """The value with lone surrogates (from file names that are not UTF-8) spelled out, as no writer accepts them."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return value
