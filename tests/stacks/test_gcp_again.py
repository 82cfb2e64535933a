"""Every setting of a lab that is there, set anew: changed in place, replaced with nothing lost, or refused.

What a changed field does is read in the provider's source (standin/provider_fields.toml); the engine's part, what is
compared, ignored, protected, is followed here and tried on the real engine in test_lifecycle_engine.py.
"""

from __future__ import annotations

import re
import types
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from shoal.lifecycle import plan
from shoal.lifecycle.plan import Plan, Step
from stacks.gcp.config import GcpSettings
from stacks.gcp.program import program
from tests.stacks.recorded import Run, run
from tests.stacks.standin import fields

PROJECT = "shoal-gcp"
BASE: dict[str, Any] = {
    "gcp:project": "my-project-1",
    "sshUser": "ops_example_com",
    "expiresAt": "2027-01-02T03:04:05Z",
    "bucket": {},
    "compute": {"count": 2},
    "sshMembers": ["user:ops@example.com"],
}
IN_PLACE, NOTHING, MADE, ANEW, REFUSED = "in place", "nothing", "made", "made anew", "refused"
AGAIN: list[tuple[str, Any, str]] = [
    ("name", "other", REFUSED),
    ("engine", "ssh", NOTHING),
    ("mesh", "tailscale", NOTHING),
    ("region", "europe-west1", REFUSED),
    ("zones", ["us-central1-f", "us-central1-a"], REFUSED),
    ("nodeZones", {"test-compute-1": "us-central1-f"}, REFUSED),
    ("subnetCidr", "10.77.0.0/16", IN_PLACE),
    ("subnetCidr", "10.78.0.0/24", REFUSED),
    ("subnetCidr", "10.77.0.0/25", REFUSED),
    ("image", "projects/debian-cloud/global/images/family/debian-13", REFUSED),
    ("requester.machineType", "e2-standard-8", IN_PLACE),
    ("requester.diskGib", 60, IN_PLACE),
    ("requester.diskGib", 30, REFUSED),
    ("requester.diskType", "pd-ssd", REFUSED),
    ("compute.count", 3, MADE),
    ("compute.count", 1, REFUSED),
    ("compute.machineType", "e2-standard-4", IN_PLACE),
    ("compute.diskGib", 60, IN_PLACE),
    ("compute.diskGib", 40, REFUSED),
    ("compute.dataDiskGib", 200, IN_PLACE),
    ("compute.dataDiskGib", 50, REFUSED),
    ("compute.diskType", "pd-ssd", REFUSED),
    ("compute.spot", False, ANEW),
    ("compute.terminationAction", "DELETE", IN_PLACE),
    ("compute.gpu", {"type": "nvidia-l4"}, REFUSED),
    ("bucket", None, REFUSED),
    ("bucket.retentionDays", 7, IN_PLACE),
    ("bucket.storageClass", "NEARLINE", IN_PLACE),
    ("bucket.recordsNearlineDays", 60, IN_PLACE),
    ("bucket.recordsColdlineDays", 120, IN_PLACE),
    ("login", "key", IN_PLACE),
    ("sshUser", "somebody_else", NOTHING),
    ("sshPublicKey", "ssh-ed25519 AAAA other", IN_PLACE),
    ("sshMembers", ["user:else@example.com"], IN_PLACE),
    ("expiresAt", "2027-02-03T04:05:06Z", IN_PLACE),
    ("maxRunHours", 6, NOTHING),
    ("allowLarger", True, NOTHING),
    ("costCeilingUsdPerDay", 500, NOTHING),
    ("pricesFile", "shoal/prices.toml", NOTHING),
    ("videoFramesPerS", 25, NOTHING),
    ("nodeFramesPerS", 5, NOTHING),
]
HARMLESS = re.compile(r"IAMMember$")
"""Grants: made anew they are the same."""


def changed(path: str, value: Any) -> dict[str, Any]:
    """The base settings with one of them set anew, and what goes with it."""
    key, _, inner = path.partition(".")
    settings = {**BASE, key: {**BASE.get(key, {}), inner: value} if inner else value}
    if path == "login":
        settings["sshPublicKey"] = "ssh-ed25519 AAAA lab"
    if path == "sshPublicKey":
        settings["login"] = "key"
    if path == "requester.machineType":
        settings["allowLarger"] = True
    return {key: value for key, value in settings.items() if value is not None}


def steps(before: Run, after: Run) -> list[Step]:
    """What the engine would do between two programs: the same comparison, by the provider's table."""
    olds, news = ({made.name + made.type: made for made in it.made if made.custom} for it in (before, after))
    found = []
    for key in {*olds, *news}:
        old, new = olds.get(key), news.get(key)
        there = old or new
        assert there is not None
        urn = f"urn:pulumi:test::{PROJECT}::{there.type}::{there.name}"
        if old is None or new is None:
            found.append(Step("create" if old is None else "delete", urn))
            continue
        ignored = after.options[f"{new.type} {new.name}"].ignored
        differ = [
            change
            for change in fields.changes(new.type, old.inputs, new.inputs)
            if not any(change.path == path or change.path.startswith(f"{path}.") for path in ignored)
        ]
        replacing = tuple(change.path for change in differ if change.replaces)
        because = replacing or tuple(change.path for change in differ)
        operation = "replace" if replacing else "update" if differ else "same"
        found.append(Step(operation, urn, because, old.inputs, new.inputs))
    return found


def outcome(path: str, value: Any) -> str:
    import pulumi

    before = run(program, PROJECT, changed("sshPublicKey", "ssh-ed25519 AAAA lab") if path == "sshPublicKey" else BASE)
    try:
        after = run(program, PROJECT, changed(path, value))
    except pulumi.RunError:
        return REFUSED
    found = [step for step in steps(before, after) if step.operation != "same"]
    if list(plan.faults(Plan(tuple(found), ()), "gcp")):
        return REFUSED
    for step in found:
        if step.operation == "replace" and not HARMLESS.search(step.kind):
            # Nothing but a compute node's machine, whose data is on a disk of its own.
            assert step.kind == plan.INSTANCE
            assert "-compute-" in step.name
    # Two of one name were never there at once: what is replaced goes first.
    if any(step.operation == "replace" and step.kind == plan.INSTANCE for step in found):
        return ANEW
    if any(step.operation == "create" and step.kind == plan.INSTANCE for step in found):
        return MADE
    return IN_PLACE if found else NOTHING


@pytest.mark.parametrize(("path", "value", "expected"), AGAIN)
def test_a_setting_set_anew(path: str, value: Any, expected: str) -> None:
    assert outcome(path, value) == expected


def test_every_setting_has_a_row() -> None:
    def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
        found = set()
        for name, info in model.model_fields.items():
            key = f"{prefix}{info.alias or name}"
            inner = next((arm for arm in _arms(info.annotation) if _is_model(arm)), None)
            found |= leaves(inner, f"{key}.") if inner is not None and not key.endswith(".gpu") else {key}
        return found

    assert leaves(GcpSettings) == {path for path, _, _ in AGAIN} - {"bucket"}


def _arms(annotation: Any) -> list[Any]:
    return list(get_args(annotation)) if get_origin(annotation) in (Union, types.UnionType) else [annotation]


def _is_model(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, BaseModel)


def test_every_field_that_the_stack_sets_was_looked_up() -> None:
    made = run(program, PROJECT, {**BASE, "compute": {"count": 3}})
    for each in made.made:
        if each.custom:
            rows = fields.table()[each.type]
            assert set(_paths(each.inputs, rows)) <= set(rows), each.type


def _paths(inputs: Any, rows: dict[str, Any], path: str = "") -> list[str]:
    if path and not any(known.startswith(f"{path}.") for known in rows):
        return [path]
    found = [path] if path else []
    for block in inputs if isinstance(inputs, list) else [inputs]:
        for key, value in block.items():
            found += _paths(value, rows, f"{path}.{key}" if path else key)
    return found


def test_what_holds_data_or_carries_others_is_protected_and_nothing_else() -> None:
    made = run(program, PROJECT, BASE)
    protected = {key.rpartition(":")[2] for key, options in made.options.items() if options.protected}
    assert protected == {
        "Network network",
        "Subnetwork subnet",
        "Instance test-requester",
        "Disk test-compute-1-data",
        "Disk test-compute-2-data",
        "Bucket bucket",
    }


def test_the_expiry_stands_in_no_field_that_would_make_a_new_resource() -> None:
    """Its label's form, wherever it is, in fields that are changed in place only."""
    made = run(program, PROJECT, BASE)
    for each in made.made:
        if not each.custom:
            continue
        other = {key: value for key, value in each.inputs.items() if "20270102" in str(value)}
        assert set(other) <= {"labels", "bootDisk"}, each


def test_the_longest_run_is_the_labs_time() -> None:
    from datetime import UTC, datetime

    base = {**{key: value for key, value in BASE.items() if ":" not in key}, "name": "test"}
    settings = GcpSettings.model_validate(base)
    assert settings.longest_run_s(datetime(2027, 1, 1, 3, 4, 5, tzinfo=UTC)) == 24 * 3600
    assert settings.longest_run_s(datetime(2027, 1, 5, tzinfo=UTC)) == 3600
    assert settings.longest_run_s(datetime(2020, 1, 5, tzinfo=UTC)) == 2880 * 3600
    fixed = GcpSettings.model_validate({**base, "maxRunHours": 6})
    assert fixed.longest_run_s(datetime(2027, 1, 5, tzinfo=UTC)) == 6 * 3600
