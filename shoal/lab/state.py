"""The lab's folder on this machine: its facts, keys, known hosts and ssh configuration."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from shoal.errors import ShoalError
from shoal.files import write_atomic
from shoal.paths import state_dir


@dataclass(frozen=True, slots=True)
class LabFacts:
    """What is known of a lab besides its machines: `lab.json` in the lab's folder."""

    name: str
    engine_url: str
    """Where the engine answers that the lab runs on."""
    compute: int
    subnet: str
    gateway: str
    bridge: str
    """The lab network's interface on this machine."""
    mtu: int
    """Largest packet in bytes on the way out; inner engines must not use a larger one."""
    dns: tuple[str, ...] = ()
    """Nameservers for inner engines, which cannot use a node's own resolver; never a loopback address."""
    metadata_blocked: bool = False
    """Whether the machine's own metadata service (169.254.0.0/16 by the uplink) is kept from the nodes."""
    memory_mib: int | None = None
    cpus: float | None = None
    image: str | None = None
    """A node image of the user's own, where one was asked for."""
    inotify_before: int | None = None
    """The host's fs.inotify.max_user_instances before the lab raised it."""
    boot_timeout_s: float = 120.0
    """How long a node may take to boot."""
    cameras: int = 0
    """Cameras of each compute node; with any there is a store."""


def labs_folder() -> Path:
    """One folder per lab."""
    return state_dir() / "labs"


def folder(name: str) -> Path:
    """The lab's folder."""
    return labs_folder() / name


def lock_path(name: str) -> Path:
    """Beside the folder, so that removing the folder does not let a waiting command in too early."""
    return labs_folder() / f".{name}.lock"


def load_facts(name: str) -> LabFacts | None:
    """The lab's facts; None where there is no such lab. Raises ShoalError where the file is damaged."""
    path = folder(name) / "lab.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(LabFacts)}
        values = {key: value for key, value in raw.items() if key in known}
        return LabFacts(**{**values, "dns": tuple(values.get("dns", ()))})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ShoalError(
            f"{path} is damaged: {error}", hint=f"delete it and type `shoal lab up --name {name}` again"
        ) from None


def save_facts(facts: LabFacts) -> None:
    """Write `lab.json` atomically."""
    write_atomic(folder(facts.name) / "lab.json", json.dumps(asdict(facts), indent=2) + "\n")


def names() -> list[str]:
    """Labs that have a folder here."""
    if not labs_folder().is_dir():
        return []
    return sorted(path.name for path in labs_folder().iterdir() if path.is_dir())
