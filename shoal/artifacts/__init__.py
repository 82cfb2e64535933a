"""Everything fetched from outside: named in `shoal/artifacts.toml`, brought by its registry's client, checked."""

from shoal.artifacts.catalogue import Artifact, Catalogue, Derived, load_catalogue
from shoal.artifacts.lab_tools import lab_tools
from shoal.artifacts.store import State, disk_errors, kept_path, resolve, resolve_all, state
from shoal.locks import locked
from shoal.telling import Say, quiet

__all__ = [
    "Artifact",
    "Catalogue",
    "Derived",
    "Say",
    "State",
    "disk_errors",
    "kept_path",
    "lab_tools",
    "load_catalogue",
    "locked",
    "quiet",
    "resolve",
    "resolve_all",
    "state",
]
