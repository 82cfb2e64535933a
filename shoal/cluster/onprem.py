"""onprem.toml: the cluster document in a form that a person writes, for machines that exist already."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from shoal.cluster import document as clusters
from shoal.cluster.document import Cluster
from shoal.errors import Fault, UsageError
from shoal.paths import expanded, named

TABLES = frozenset({"cluster", "ssh", "node"})
CLUSTER_KEYS = ("name", "engine", "mesh", "firewall", "results_keep_days")
PATHS = ("identity_file", "known_hosts_file", "config_file")


def default_path() -> Path:
    """`onprem.toml` of the working directory. `SHOAL_ONPREM` overrides."""
    return named("SHOAL_ONPREM") or Path("onprem.toml").resolve()


def load(path: Path) -> Cluster:
    """Read and validate the file. Raises UsageError with all its faults, by the names they have in the file."""
    return parse(read(path)[1], source=path)


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """The file's text with its line ends as they are, and what it says, not yet checked. Raises UsageError."""
    try:
        text = path.read_bytes().decode("utf-8")
        return text, tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError(
            f"there is no {path}",
            hint="copy inventories/onprem.example.toml there and fill it in, or run `shoal cluster init`",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in brackets without end
        raise UsageError(f"{path} cannot be read: {error}") from None


def parse(raw: dict[str, Any], *, source: Path) -> Cluster:
    """The cluster in decoded TOML; relative paths are relative to the file."""
    faults = _shape_faults(raw)
    document = _document(raw, source.parent)
    cluster = None
    try:
        cluster = clusters.parse(document, source=str(source))
    except UsageError as error:
        faults += [Fault(_as_written(fault.where), _in_toml_words(fault.what)) for fault in error.faults]
    if cluster is None or faults:
        raise UsageError(
            f"{source} does not describe a cluster ({len(faults)} fault{'s' if len(faults) != 1 else ''})",
            faults=tuple(faults),
            hint="inventories/onprem.example.toml shows every field",
        )
    return cluster


def render(cluster: Cluster) -> str:
    """The file's text for a cluster; `load` reads the same cluster from it."""
    lines = [
        "# Machines of shoal; see inventories/onprem.example.toml for every field.",
        "",
        "[cluster]",
        *assignments({key: value for key in CLUSTER_KEYS if (value := getattr(cluster, key)) is not None}),
    ]
    if ssh := cluster.ssh.model_dump(mode="json", exclude_none=True):
        lines += ["", "[ssh]", *assignments(ssh)]
    for node in cluster.nodes:
        values = node.model_dump(mode="json", exclude_defaults=True)
        # Always written: the two that a reader looks for first.
        values = {"name": node.name, "roles": list(node.roles), "address": node.address, "user": node.user, **values}
        lines += ["", "[[node]]", *assignments(values)]
    return "\n".join(lines) + "\n"


def _shape_faults(raw: dict[str, Any]) -> list[Fault]:
    """Faults of the file's own form, which the document's model does not see."""
    faults = [Fault(key, "no such table; there are [cluster], [ssh] and [[node]]") for key in raw if key not in TABLES]
    head = raw.get("cluster")
    if head is None:
        faults.append(Fault("[cluster]", "is missing; it holds at least the cluster's name"))
    elif not isinstance(head, dict):
        faults.append(Fault("cluster", "must be a table: [cluster]"))
    else:
        faults += [
            Fault(f"cluster.{key}", f"no such field; there are {', '.join(CLUSTER_KEYS)}")
            for key in head
            if key not in CLUSTER_KEYS
        ]
    nodes = raw.get("node")
    if nodes is None:
        faults.append(Fault("[[node]]", "is missing; each machine has one"))
    elif not isinstance(nodes, list):
        faults.append(Fault("node", "must be written with double brackets: [[node]]"))
    return faults


def _document(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The raw cluster document; whatever does not fit is left for the model to name."""
    head = raw.get("cluster")
    document: dict[str, Any] = {"version": 1, "substrate": "onprem"}
    if isinstance(head, dict):
        document |= {key: head[key] for key in CLUSTER_KEYS if key in head}
    if "ssh" in raw:
        ssh = raw["ssh"]
        document["ssh"] = (
            {key: _resolved(value, folder) if key in PATHS else value for key, value in ssh.items()}
            if isinstance(ssh, dict)
            else ssh
        )
    if isinstance(raw.get("node"), list):
        document["nodes"] = raw["node"]
    return document


def _resolved(value: Any, folder: Path) -> Any:
    return str(folder / expanded(Path(value))) if isinstance(value, str) and value else value


def _as_written(where: str) -> str:
    """A field's path in the document as it is in the file: `nodes[1].port` is `node[1].port`."""
    if where == "nodes":
        return "[[node]]"
    if where in CLUSTER_KEYS:
        return f"cluster.{where}"
    return where.replace("nodes[", "node[", 1) if where.startswith("nodes[") else where


def _in_toml_words(what: str) -> str:
    return what.replace("nodes[", "node[")


def assignments(values: dict[str, Any]) -> list[str]:
    """Lines of TOML that give `values` their names, tables in line."""
    return [f"{key} = {_value(value)}" for key, value in values.items()]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(entry)}" for key, entry in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    # A JSON string is a basic TOML string, but for DEL, which TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
