"""Whose a cluster's name is: tokens, locks and site documents are kept under it, and two clusters must not share those.

The document of a lab or a stack is kept in the state folder under its name, and says so by itself; for a document that
lies elsewhere (an onprem.toml), a note beside those remembers it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoal.cluster import document as clusters
from shoal.cluster.document import Address, Cluster, Name, Substrate
from shoal.errors import UsageError
from shoal.files import write_atomic
from shoal.paths import cluster_document, state_dir


class Owner(BaseModel):
    """Where the cluster of a name was described, and its machines at that time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    cluster: Name
    substrate: Substrate
    document: Path
    machines: dict[Name, Address] = Field(default_factory=dict, description="First address by name.")


def note_path(cluster: str) -> Path:
    """Where the note on a cluster's name lies."""
    return state_dir() / "owners" / f"{cluster}.json"


def document_of(cluster: str) -> Path | None:
    """The document that a cluster of this name was last described in, if it lies outside of the state folder."""
    note = _note(cluster)
    return note.document if note else None


def claim(cluster: Cluster, document: Path) -> None:
    """Note the cluster's document, unless the state folder holds it. Call `refuse_taken` before."""
    document = document.resolve()
    if _is_kept(document) or cluster_document(cluster.name).exists():
        return
    note = Owner(cluster=cluster.name, substrate=cluster.substrate, document=document, machines=_machines(cluster))
    if _note(cluster.name) != note:
        write_atomic(note_path(cluster.name), note.model_dump_json(indent=2) + "\n")


def refuse_taken(cluster: Cluster, document: Path) -> None:
    """Raise UsageError where another cluster has this name: of another substrate, or without one machine in common."""
    document = document.resolve()
    for owner, file in _owners(cluster.name, but=document):
        # Whoever keeps its document here writes it anew, with other machines and addresses.
        same = owner.substrate == cluster.substrate and (
            _is_kept(document)
            or owner.document == document
            or not owner.machines.items().isdisjoint(_machines(cluster).items())
        )
        if not same:
            raise UsageError(
                f"{document} describes a cluster {cluster.name!r} ({cluster.substrate}), and another one has that name "
                f"on this machine ({owner.substrate}, {owner.document}): they would share tokens, locks and documents",
                hint=f"give it another name; if the other one is no more, remove {file}",
            )


def refuse_lab(name: str) -> None:
    """Raise UsageError where a lab may not have this name, because another cluster has it."""
    for owner, file in _owners(name):
        if owner.substrate != "lab":
            raise UsageError(
                f"a cluster of {owner.substrate} has the name {name!r} already: {owner.document}",
                hint=f"give the lab another name; if that cluster is no more, remove {file}",
            )


def _owners(cluster: str, *, but: Path | None = None) -> list[tuple[Owner, Path]]:
    """Whoever has the name, without the document `but`: it was read already, and is no other cluster than itself."""
    found = []
    kept = cluster_document(cluster)
    # The last cloud lab's document lies under the substrate's name as well, whatever that lab is called.
    if kept.resolve() != but and kept.exists() and (there := clusters.load(kept)).name == cluster:
        found.append(
            (
                Owner(cluster=cluster, substrate=there.substrate, document=kept.resolve(), machines=_machines(there)),
                kept,
            )
        )
    if note := _note(cluster):
        found.append((note, note_path(cluster)))
    return found


def _is_kept(document: Path) -> bool:
    return document.parent == cluster_document("any").parent.resolve()


def _note(cluster: str) -> Owner | None:
    path = note_path(cluster)
    try:
        return Owner.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        faults = tuple(clusters.field_faults(error))
        raise UsageError(f"{path} is not valid", faults=faults, hint="remove it; the next command writes it") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="remove it; the next command writes it") from None


def _machines(cluster: Cluster) -> dict[str, str]:
    return {node.name: node.first_address or node.address for node in cluster.nodes}
