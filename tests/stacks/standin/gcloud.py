"""A `gcloud` for tests: answers from the stand-in's cloud, and refuses every command it does not know."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from tests.stacks.standin.cloud import DISK, INSTANCE, Cloud
from tests.stacks.standin.server import CLOUD_VARIABLE

LISTS = {
    "compute instances list": INSTANCE,
    "compute disks list": DISK,
    "compute snapshots list": "gcp:compute/snapshot:Snapshot",
    "storage buckets list": "gcp:storage/bucket:Bucket",
    "compute networks list": "gcp:compute/network:Network",
    "compute networks subnets list": "gcp:compute/subnetwork:Subnetwork",
    "compute routers list": "gcp:compute/router:Router",
    "compute firewall-rules list": "gcp:compute/firewall:Firewall",
    "iam service-accounts list": "gcp:serviceaccount/account:Account",
}


def main(arguments: list[str]) -> int:
    cloud = Cloud(Path(os.environ[CLOUD_VARIABLE]))
    words = [word for word in arguments if not word.startswith("--")]
    flags = dict(word[2:].partition("=")[::2] for word in arguments if word.startswith("--"))
    command = " ".join(words)
    if command in LISTS:
        return _answer(_matching(cloud, LISTS[command], flags["filter"]))
    if command.startswith("compute instances get-"):
        return _told_by_machine(words[2], _machine(cloud, words[-1], flags))
    if command == "config get-value project":
        sys.stdout.write("my-project-1\n")
        return 0
    if command == "compute os-login ssh-keys add":
        assert Path(flags["key-file"]).read_text().startswith("ssh-ed25519 ")
        assert re.fullmatch(r"\d+h", flags["ttl"])
        return 0
    if command == "compute os-login describe-profile":
        return _answer({"posixAccounts": [{"username": "other"}, {"primary": True, "username": "ops_example_com"}]})
    sys.stderr.write(f"ERROR: (gcloud) Invalid choice: {command}\n")
    return 2


def _told_by_machine(what: str, machine: dict[str, Any]) -> int:
    if what == "get-serial-port-output":
        sys.stdout.write(machine.get("serial", "booting\n"))
        return 0
    assert what == "get-guest-attributes"
    if keys := machine.get("hostKeys"):
        return _answer([{"namespace": "hostkeys", "key": kind, "value": body} for kind, body in keys])
    sys.stderr.write("ERROR: Could not fetch resource: The resource 'hostkeys/' was not found\n")
    return 1


def _matching(cloud: Cloud, token: str, wanted: str) -> list[dict[str, Any]]:
    things = cloud.things(token).values()
    if label := re.fullmatch(r"labels\.([a-z-]+)=(\S+)", wanted):
        found = [thing for thing in things if thing.get("labels", {}).get(label[1]) == label[2]]
    else:
        field, _, names = wanted.partition("=")
        allowed = set(names.strip("()").split())
        found = [thing for thing in things if thing[field] in allowed]
    return [{**thing, "status": thing.get("currentStatus")} for thing in found]


def _machine(cloud: Cloud, name: str, flags: dict[str, str]) -> dict[str, Any]:
    for thing in cloud.things(INSTANCE).values():
        if thing["name"] == name and thing["zone"] == flags["zone"] and flags["project"] == "my-project-1":
            return thing
    return {}


def _answer(value: Any) -> int:
    sys.stdout.write(json.dumps(value))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
