"""Runs on the requester: asks the orchestrator, with the key in its own configuration file, over loopback.

    ready CONFIG TIMEOUT_S NODE...   waits until every node is there for docker jobs; else says on stderr what is not
    look CONFIG NODE...              prints `ready` if they are now
    busy CONFIG                      prints a line per job that is not over; `? REASON` where that is unknown

Needs Python 3.8 and nothing else: it is sent to machines as it is.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

OVER = ("Completed", "Failed", "Stopped")
POLL_S = 0.3
MARK = "_node"
"""The end of a node's id with the engine."""


def settings(path: str) -> dict[str, Any]:
    """The configuration file at `path`."""
    text = Path(path).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads("".join(line for line in text.splitlines(True) if not line.startswith("#")))
    return found


def ask(config: dict[str, Any], path: str) -> Any:
    """What the orchestrator answers to `path`."""
    api = config["API"]
    request = urllib.request.Request(f"http://127.0.0.1:{api['Port']}/api/v1/orchestrator/{path}")
    request.add_header("Authorization", f"Bearer {api['Auth']['Users'][0]['APIKey']}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        return json.load(answer)


def fault(name: str, node: dict[str, Any] | None, *, manual: bool) -> str | None:
    """Why the orchestrator would give a node no docker job that reads local paths.

    With `manual` approval it is a person's to give, and a node that waits for it is all that a deploy can bring about.
    """
    see = "see `journalctl -u bacalhau-compute` there"
    if node is None:
        return f"never came to the orchestrator; {see}"
    info = node["Info"]["ComputeNodeInfo"]
    status = node["ConnectionState"]["Status"]
    if status != "CONNECTED":
        return f"is {status.lower()}: its service does not get through with its token and the address it has; {see}"
    if node["Membership"] != "APPROVED" and not (manual and node["Membership"] == "PENDING"):
        return f"is not approved ({node['Membership'].lower()}): `shoal nodes approve {name}`"
    if "docker" not in (info["ExecutionEngines"] or []):
        return "its service found no Docker when it started"
    if "local" not in (info["StorageSources"] or []):
        return "its service allows no local path"
    return None


def name_of(node: dict[str, Any]) -> str:
    """Its name in the cluster document, as in shoal/cluster/engine_id.py."""
    found: str = node["Info"]["NodeID"]
    return found[: -len(MARK)] if found.endswith(MARK) else found


def heard(node: dict[str, Any]) -> tuple[bool, str]:
    """Of two entries of one name the one that is heard comes last, and counts."""
    return node["ConnectionState"]["Status"] == "CONNECTED", node["Info"]["NodeID"]


def faults(config: dict[str, Any], names: list[str]) -> list[str]:
    """What is not ready, a line a node."""
    try:
        there = {name_of(node): node for node in sorted(ask(config, "nodes")["Nodes"], key=heard)}
    except (OSError, ValueError) as error:
        return [f"the orchestrator does not answer ({error}); see `journalctl -u bacalhau-orchestrator`"]
    manual = bool(config["Orchestrator"].get("NodeManager", {}).get("ManualApproval"))
    found = {name: fault(name, there.get(name), manual=manual) for name in names}
    return [f"{name}: {why}" for name, why in found.items() if why]


def wait(config: dict[str, Any], timeout_s: float, names: list[str]) -> int:
    """0 once all are ready; 1 when the time is over, and what is missing on stderr."""
    end = time.monotonic() + timeout_s
    while found := faults(config, names):
        if time.monotonic() > end:
            sys.stderr.write(f"not ready within {timeout_s:.0f} s: {'; '.join(found)}\n")
            return 1
        time.sleep(POLL_S)  # until all are there, or the time is over
    return 0


def busy(config: dict[str, Any]) -> list[str]:
    """Jobs that are not over. Where nothing listens none can be lost; any other silence, or a refusal, is no answer."""
    try:
        jobs = ask(config, "jobs?limit=1000&order_by=created_at&reverse=true")["Items"] or []
    except urllib.error.HTTPError as error:
        more = "; it runs with other keys than its settings have" if error.code in (401, 403) else ""
        return [f"? the orchestrator answers {error.code} {error.reason}{more}"]
    except (OSError, ValueError) as error:
        if isinstance(getattr(error, "reason", error), ConnectionRefusedError):
            return []
        return [f"? the orchestrator does not answer ({error})"]
    states = ((job["Name"], job["State"]["StateType"]) for job in jobs)
    return [f"{name} ({state.lower()})" for name, state in states if state not in OVER]


def main(arguments: list[str]) -> int:
    """The exit code."""
    verb, config = arguments[0], settings(arguments[1])
    if verb == "ready":
        return wait(config, float(arguments[2]), arguments[3:])
    if verb == "look":
        sys.stdout.write("" if faults(config, arguments[2:]) else "ready\n")
        return 0
    for line in busy(config):
        sys.stdout.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
