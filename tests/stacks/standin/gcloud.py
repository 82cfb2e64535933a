"""A `gcloud` for tests: answers from the stand-in's cloud, and refuses every command it does not know."""

from __future__ import annotations

import json
import os
import re
import sys
import time
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
    if command.startswith("config get-value"):
        sys.stdout.write({"project": "my-project-1", "account": "ops@example.com"}[words[-1]] + "\n")
        return 0
    for beginning, answer in ANSWERS.items():
        if command.startswith(beginning):
            return answer(cloud, words, flags)
    sys.stderr.write(f"ERROR: (gcloud) Invalid choice: {command}\n")
    return 2


def _os_login_profile(cloud: Cloud, words: list[str], flags: dict[str, str]) -> int:
    with cloud.world() as world:
        keys = {key: {"key": key, "expirationTimeUsec": end} for key, end in world.get("profile", {}).items()}
    accounts = [{"username": "other"}, {"primary": True, "username": "ops_example_com"}]
    return _answer({"posixAccounts": accounts, "sshPublicKeys": keys})


def _grants(cloud: Cloud, words: list[str], flags: dict[str, str]) -> int:
    wanted = re.compile(flags["filter"].partition("~")[2])
    grants = [thing for key, thing in cloud.things().items() if key.startswith("IAMMember/")]
    found = [{"bindings": {"members": thing["member"], "role": thing["role"]}} for thing in grants]
    return _answer([entry for entry in found if wanted.search(entry["bindings"]["members"])])


def _disk(cloud: Cloud, words: list[str], flags: dict[str, str]) -> int:
    (disk,) = [thing for thing in cloud.things(DISK).values() if thing["name"] == words[-1]]
    return _answer(disk)


def _profile_key(cloud: Cloud, words: list[str], flags: dict[str, str]) -> int:
    """The account's OS Login profile, as the real commands change it."""
    key = Path(flags["key-file"]).read_text().strip()
    assert key.startswith("ssh-ed25519 ")
    verb = words[-1]
    with cloud.world() as world:
        profile = world.setdefault("profile", {})
        if verb != "add" and key not in profile:
            sys.stderr.write("ERROR: (gcloud) Cannot find requested SSH key.\n")
            return 1
        if verb == "remove":
            del profile[key]
        else:
            hours = re.fullmatch(r"(\d+)h", flags["ttl"])
            assert hours
            profile[key] = str(int((time.time() + int(hours[1]) * 3600) * 1e6))
    return 0


def _rescheduled(cloud: Cloud, words: list[str], flags: dict[str, str]) -> int:
    """The real one takes a new limit for a stopped machine only."""
    name = words[-1]
    thing = _machine(cloud, name, flags)
    seconds = re.fullmatch(r"(\d+)s", flags["max-run-duration"])
    assert seconds
    if thing["currentStatus"] != "TERMINATED":
        sys.stderr.write(f"ERROR: Instance {name} must be stopped\n")
        return 1
    duration = {"seconds": int(seconds[1]), "nanos": 0}
    cloud.edit(name, scheduling={**thing["scheduling"], "maxRunDuration": duration})
    return 0


def _told_by_machine(cloud: Cloud, words: list[str], flags: dict[str, str]) -> int:
    what, machine = words[2], _machine(cloud, words[-1], flags)
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
    return [{**thing, "status": thing.get("currentStatus"), "id": thing.get("instanceId")} for thing in found]


def _machine(cloud: Cloud, name: str, flags: dict[str, str]) -> dict[str, Any]:
    for thing in cloud.things(INSTANCE).values():
        if thing["name"] == name and thing["zone"] == flags["zone"] and flags["project"] == "my-project-1":
            return thing
    return {}


def _answer(value: Any) -> int:
    sys.stdout.write(json.dumps(value))
    return 0


def _region(cloud: Cloud, words: list[str], flags: dict[str, str]) -> int:
    limits = {"CPUS": 24, "PREEMPTIBLE_CPUS": 100, "SSD_TOTAL_GB": 2000, **(cloud.planned("quotas") or {})}
    return _answer({"quotas": [{"metric": key, "limit": value, "usage": 0} for key, value in limits.items()]})


def _services(cloud: Cloud, words: list[str], flags: dict[str, str]) -> int:
    names = ("compute", "iap", "iam", "oslogin", "cloudresourcemanager", "storage")
    off = cloud.planned("off") or []
    return _answer([{"config": {"name": f"{name}.googleapis.com"}} for name in names if name not in off])


def _policy(cloud: Cloud, words: list[str], flags: dict[str, str]) -> int:
    enforced = words[-1] in (cloud.planned("policies") or [])
    return _answer({"constraint": f"constraints/{words[-1]}", "booleanPolicy": {"enforced": enforced}})


def _project_policy(cloud: Cloud, words: list[str], flags: dict[str, str]) -> int:
    if "filter" in flags:
        return _grants(cloud, words, flags)
    return _answer({"bindings": [{"role": "roles/owner", "members": ["user:ops@example.com"]}]})


ANSWERS = {
    "compute regions describe": _region,
    "compute project-info describe": _region,
    "services list": _services,
    "resource-manager org-policies describe": _policy,
    "projects get-iam-policy": _project_policy,
    "compute instances get-": _told_by_machine,
    "compute instances set-scheduling": _rescheduled,
    "compute disks describe": _disk,
    "compute os-login ssh-keys ": _profile_key,
    "compute os-login describe-profile": _os_login_profile,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
