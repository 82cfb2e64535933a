"""Reads the documents of a run's folder with distrust: they may be damaged or half fetched.

Reading never raises for that; it returns what is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from shoal.results import documents
from shoal.results.documents import Manifest, RunSummary, VideoSummary
from shoal.untrusted import DamagedDocumentError

DocumentT = TypeVar("DocumentT", Manifest, RunSummary, VideoSummary)


def read_document(path: Path, kind: type[DocumentT], notes: list[str]) -> DocumentT | None:
    """The document at `path`; None, with the reason appended to `notes`, where it is missing or damaged."""
    try:
        return documents.read(path, kind)
    except FileNotFoundError:
        notes.append(f"{path.name} is missing")
    except DamagedDocumentError as error:
        more = f" and {len(error.faults) - 1} more" if len(error.faults) > 1 else ""
        why = f"is damaged: {error.faults[0]}{more}" if error.faults else error.message.removeprefix(f"{path} ")
        notes.append(f"{path.name} {why}")
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error}")
    return None


def inside(folder: Path, relative: str) -> Path | None:
    """`folder/relative`, or None where that would leave the folder (`..`, absolute paths, links)."""
    if "\0" in relative:
        return None
    path = (folder / relative).resolve()
    return path if path.is_relative_to(folder.resolve()) else None
