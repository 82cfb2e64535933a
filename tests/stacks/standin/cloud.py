"""The stand-in's cloud: one JSON file under a lock, with the few rules of the real one that the tests are about."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INSTANCE = "gcp:compute/instance:Instance"
DISK = "gcp:compute/disk:Disk"

# Where a resource lies: the id's form, filled from its properties and the project.
_IDS = {
    INSTANCE: "projects/{project}/zones/{zone}/instances/{name}",
    DISK: "projects/{project}/zones/{zone}/disks/{name}",
    "gcp:compute/network:Network": "projects/{project}/global/networks/{name}",
    "gcp:compute/subnetwork:Subnetwork": "projects/{project}/regions/{region}/subnetworks/{name}",
    "gcp:compute/router:Router": "projects/{project}/regions/{region}/routers/{name}",
    "gcp:compute/routerNat:RouterNat": "{project}/{region}/{router}/{name}",
    "gcp:compute/firewall:Firewall": "projects/{project}/global/firewalls/{name}",
    "gcp:serviceaccount/account:Account": "projects/{project}/serviceAccounts/{email}",
    "gcp:storage/bucket:Bucket": "{name}",
}


class CloudError(Exception):
    """What the cloud answers instead of doing it."""


class Cloud:
    """Everything there is, by id. `plan` holds what is to go wrong, set by a test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def world(self) -> Iterator[dict[str, Any]]:
        """The content for reading and writing, saved where no error came out."""
        with self.path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            world = json.loads(self.path.read_text()) if self.path.exists() else {"things": {}, "plan": {}, "next": 2}
            yield world
            self.path.write_text(json.dumps(world, indent=1, sort_keys=True))

    def things(self, token: str | None = None) -> dict[str, dict[str, Any]]:
        """Id and properties of what there is, of one type or all."""
        with self.world() as world:
            return {key: it["properties"] for key, it in world["things"].items() if token in (None, it["type"])}

    def plan(self, **what: Any) -> None:
        """What is to go wrong: `stockout` (zones), `stall` (names of resources that are made but never reported),
        `blind` (a machine that stopped is no difference).
        """
        with self.world() as world:
            world["plan"] = what

    def planned(self, what: str) -> Any:
        """What is planned of this kind, if anything."""
        with self.world() as world:
            return world["plan"].get(what)

    def create(self, token: str, inputs: dict[str, Any], project: str) -> tuple[str, dict[str, Any]]:
        """Make a resource. Raises CloudError as the cloud would refuse it."""
        with self.world() as world:
            properties = {"project": project, **inputs}
            if token.endswith(":Account"):
                properties["email"] = f"{inputs['accountId']}@{project}.iam.gserviceaccount.com"
                properties["name"] = f"projects/{project}/serviceAccounts/{properties['email']}"
                properties["member"] = f"serviceAccount:{properties['email']}"
            key = _id(token, properties)
            if key in world["things"] and token in _IDS:
                raise CloudError(f"Error 409: The resource '{key}' already exists, alreadyExists")
            if token == INSTANCE:
                _start(world, properties, key)
            world["things"][key] = {"type": token, "properties": properties}
            stall = properties.get("name") in world["plan"].get("stall", [])
        while stall:
            time.sleep(0.2)
        return key, properties

    def update(self, key: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Change a resource in place."""
        with self.world() as world:
            thing = world["things"].get(key)
            if thing is None:
                raise CloudError(f"Error 404: The resource '{key}' was not found, notFound")
            properties: dict[str, Any] = {**thing["properties"], **inputs}
            if thing["type"] == INSTANCE and _boot_gib(properties) < _boot_gib(thing["properties"]):
                raise CloudError("Error 400: Invalid value for field 'sizeGb': disk size cannot be made smaller")
            if thing["type"] == INSTANCE and inputs.get("desiredStatus") == "RUNNING":
                _stock(world, properties["zone"])
                properties["currentStatus"] = "RUNNING"
            thing["properties"] = properties
            return properties

    def delete(self, key: str) -> None:
        """Remove a resource; what is not there is gone already."""
        with self.world() as world:
            if key not in world["things"]:
                return
            going = world["things"][key]
            if going["type"].endswith(":Bucket") and going["properties"].get("objects"):
                raise CloudError(f"Error trying to delete bucket {key} containing objects without force_destroy")
            for other, thing in world["things"].items():
                if other != key and key in _references(thing["properties"]):
                    raise CloudError(f"Error 400: '{key}' is already being used by '{other}', resourceInUse")
            del world["things"][key]

    # What happens to machines behind the engine's back.

    def take_away(self, name: str) -> None:
        """Preempt a spot machine: it stops or it is gone, as its settings say."""
        with self.world() as world:
            key, thing = _named(world, name)
            if thing["properties"]["scheduling"]["instanceTerminationAction"] == "DELETE":
                del world["things"][key]
            else:
                thing["properties"]["currentStatus"] = "TERMINATED"

    def edit(self, name: str, **properties: Any) -> None:
        """Change properties by hand."""
        with self.world() as world:
            _named(world, name)[1]["properties"].update(properties)


def _boot_gib(properties: dict[str, Any]) -> int:
    return int(properties["bootDisk"]["initializeParams"]["size"])


def _id(token: str, properties: dict[str, Any]) -> str:
    if token in _IDS:
        return _IDS[token].format(**properties)
    # Grants: the same grant twice is one grant.
    where = [
        properties.get(name) for name in ("project", "zone", "instance", "instanceName", "bucket", "serviceAccountId")
    ]
    return "/".join(
        [token.rpartition(":")[2], *(str(part) for part in where if part), properties["role"], properties["member"]]
    )


def _start(world: dict[str, Any], properties: dict[str, Any], key: str) -> None:
    _stock(world, properties["zone"])
    for disk in properties.get("attachedDisks", []):
        if disk["source"] not in world["things"]:
            raise CloudError(f"Error 404: The resource '{disk['source']}' was not found, notFound")
        for other, thing in world["things"].items():
            if other != key and disk["source"] in _references(thing["properties"]):
                raise CloudError(f"Error 400: The disk resource '{disk['source']}' is already being used by '{other}'")
    for interface in properties["networkInterfaces"]:
        interface["networkIp"] = f"10.77.0.{world['next']}"
        world["next"] += 1
    for disk in properties.get("attachedDisks", []):
        world["things"][disk["source"]]["properties"]["lastAttachTimestamp"] = "2026-01-02T03:04:05Z"
    properties["currentStatus"] = "RUNNING"
    properties["instanceId"] = str(world["next"])


def _stock(world: dict[str, Any], zone: str) -> None:
    if zone in world["plan"].get("stockout", []):
        raise CloudError(
            f"Error 503: The zone 'projects/p/zones/{zone}' does not have enough resources available to fulfill the"
            " request, ZONE_RESOURCE_POOL_EXHAUSTED"
        )


def _references(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        return set().union(*map(_references, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(_references, value)) if value else set()
    return set()


def _named(world: dict[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    for key, thing in world["things"].items():
        if thing["type"] == INSTANCE and thing["properties"]["name"] == name:
            return key, thing
    raise KeyError(name)
