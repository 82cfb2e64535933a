"""Runs on the requester: asks the orchestrator, with the key in its own configuration file, over loopback.

    ready CONFIG TIMEOUT_S NODE...   waits until every node is there for docker jobs; else says on stderr what is not
    look CONFIG NODE...              prints `ready` if they are now
    busy CONFIG                      prints a line per job that is not over

Needs Python 3.8 and nothing else: it is sent to machines as it is.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

OVER = ("Completed", "Failed", "Stopped")
POLL_S = 0.3


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


def fault(node: dict[str, Any] | None) -> str | None:
    """Why the orchestrator would give a node no docker job that reads local paths."""
    see = "see `journalctl -u bacalhau-compute` there"
    if node is None:
        return f"never came to the orchestrator; {see}"
    info = node["Info"]["ComputeNodeInfo"]
    status = node["ConnectionState"]["Status"]
    if status != "CONNECTED":
        return f"is {status.lower()}: its service does not get through with its token and the address it has; {see}"
    if node["Membership"] == "REJECTED":
        return "was rejected"
    if "docker" not in (info["ExecutionEngines"] or []):
        return "its service found no Docker when it started"
    if "local" not in (info["StorageSources"] or []):
        return "its service allows no local path"
    return None


def faults(config: dict[str, Any], names: list[str]) -> list[str]:
    """What is not ready, a line a node."""
    try:
        there = {node["Info"]["NodeID"]: node for node in ask(config, "nodes")["Nodes"]}
    except (OSError, ValueError) as error:
        return [f"the orchestrator does not answer ({error}); see `journalctl -u bacalhau-orchestrator`"]
    found = {name: fault(there.get(name)) for name in names}
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


def main(arguments: list[str]) -> int:
    """The exit code."""
    verb, config = arguments[0], settings(arguments[1])
    if verb == "ready":
        return wait(config, float(arguments[2]), arguments[3:])
    if verb == "look":
        sys.stdout.write("" if faults(config, arguments[2:]) else "ready\n")
        return 0
    for job in ask(config, "jobs?limit=1000&order_by=created_at&reverse=true")["Items"] or []:
        state = job["State"]["StateType"]
        if state not in OVER:
            sys.stdout.write(f"{job['Name']} ({state.lower()})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
