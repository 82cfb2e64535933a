"""What an update would do to what holds data or carries others; all of it is refused in one list before it begins."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shoal.cloud import pulumi
from shoal.cloud.pulumi import Stack
from shoal.errors import Fault, UsageError

INSTANCE, DISK, BUCKET = "gcp:compute/instance:Instance", "gcp:compute/disk:Disk", "gcp:storage/bucket:Bucket"
CARRIERS = {
    "gcp:compute/network:Network": "the network that every machine is in",
    "gcp:compute/subnetwork:Subnetwork": "the subnet that every machine is in",
    "gcp:compute/router:Router": "the machines' way out",
    "gcp:compute/routerNat:RouterNat": "the machines' way out",
    "gcp:serviceaccount/account:Account": "the account that machines run as",
}
"""What others hang on, and what it is."""
DATA_DISK_END, REQUESTER_END = "-data", "-requester"
_GONE = frozenset({"delete", "replace", "delete-replaced", "discard-replaced"})
# The engine's own words for what the program protects.
_PROTECTED = re.compile(
    r'unable to replace resource "(?P<replaced>[^"]+)"|resource "(?P<deleted>[^"]+)" cannot be deleted'
)
_OF_THE_LAB = "the whole lab hangs on it: `shoal destroy {kind}` and `shoal up {kind}` make it anew"
_OF_DATA = "fetch what it holds, then `--give-up {name}`"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that an update would do."""

    operation: str
    urn: str
    because: tuple[str, ...] = ()
    """The properties that bring it about."""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None

    @property
    def kind(self) -> str:
        """The resource's type."""
        return self.urn.split("::")[2].rpartition("$")[2]

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return self.urn.rpartition("::")[2]

    @property
    def gone(self) -> bool:
        """Whether what is there now would be no more."""
        return self.operation in _GONE


@dataclass(frozen=True, slots=True)
class Plan:
    """What an update would do."""

    steps: tuple[Step, ...]
    remarks: tuple[str, ...]

    @property
    def anew(self) -> list[Step]:
        """Machines that would be made anew, which loses nothing but their boot disks."""
        return [step for step in self.steps if step.kind == INSTANCE and step.operation == "replace"]


def look(stack: Stack) -> Plan:
    """The plan of the next update. Raises ShoalError where the program refuses its settings, or there is no plan."""
    code, found = pulumi.plan(stack)
    protected = list(_protected(found))
    if code != 0 and not protected:
        raise pulumi.plan_failure(code, found)
    steps = {(step.urn, step.operation): step for step in [*protected, *map(_step, found.get("steps", []))]}
    return Plan(tuple(step for step in steps.values() if not _is_shadow(step, steps)), tuple(pulumi.remarks(found)))


def refuse(stack: Stack, plan: Plan, given_up: Collection[str] = ()) -> None:
    """Raise UsageError with everything that the plan may not do; `given_up` are the names whose data may go."""
    found = tuple(dict.fromkeys(faults(plan, stack.kind, given_up)))
    if found:
        raise UsageError(
            f"the settings would take away what holds data or carries others ({len(found)}); nothing was changed",
            faults=found,
            hint="leave these settings as they were; docs/cloud-lab.md says what each setting does",
        )


def faults(plan: Plan, kind: str, given_up: Collection[str] = ()) -> Iterator[Fault]:
    """Everything that would be lost, with the way to do it all the same."""
    for step in plan.steps:
        owner = owner_of(step)
        why = f" ({', '.join(step.because)})" if step.because else ""
        verb = "made anew" if step.operation == "replace" else "deleted"
        if owner is not None and step.gone and owner not in given_up:
            yield Fault(step.name, f"would be {verb}{why} with all that it holds; {_OF_DATA.format(name=owner)}")
        elif step.kind in CARRIERS and step.gone:
            yield Fault(step.name, f"{CARRIERS[step.kind]} would be {verb}{why}; {_OF_THE_LAB.format(kind=kind)}")
        elif step.kind == INSTANCE and step.name.endswith(REQUESTER_END) and step.gone and step.name not in given_up:
            yield Fault(step.name, f"would be {verb}{why}; {_OF_THE_LAB.format(kind=kind)}")
        elif step.kind == INSTANCE and step.operation == "update" and _shrinks(step):
            sizes = f"{_boot_gib(step.before)} to {_boot_gib(step.after)} GiB"
            yield Fault(step.name, f"a boot disk cannot be made smaller ({sizes}); leave diskGib as it was")


def owner_of(step: Step) -> str | None:
    """The name under which a person gives up what a resource holds; None where it holds nothing."""
    if step.kind == DISK:
        return step.name.removesuffix(DATA_DISK_END)
    return "bucket" if step.kind == BUCKET else None


def _step(entry: Mapping[str, Any]) -> Step:
    because = entry.get("replaceReasons") or entry.get("diffReasons") or ()
    before, after = ((entry.get(state) or {}).get("inputs") for state in ("oldState", "newState"))
    return Step(str(entry["op"]), str(entry["urn"]), tuple(sorted(map(str, because))), before, after)


def _protected(found: Mapping[str, Any]) -> Iterator[Step]:
    for entry in found.get("diagnostics", []):
        for match in _PROTECTED.finditer(str(entry.get("message", ""))):
            yield Step("replace" if match["replaced"] else "delete", match["replaced"] or match["deleted"])


def _is_shadow(step: Step, steps: Mapping[tuple[str, str], Step]) -> bool:
    """The engine reports a replacement as several steps; the one that has the reason counts."""
    whole = steps.get((step.urn, "replace"))
    return step.operation in ("delete-replaced", "create-replacement") and whole is not None


def _shrinks(step: Step) -> bool:
    return _boot_gib(step.after) < _boot_gib(step.before)


def _boot_gib(inputs: Mapping[str, Any] | None) -> int:
    size = ((inputs or {}).get("bootDisk") or {}).get("initializeParams") or {}
    return int(size.get("size") or 0)
