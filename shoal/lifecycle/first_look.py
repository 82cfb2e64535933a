"""What a cloud project lacks for a lab, looked for before the first resource: one list, with a command for each.

Sources: the quotas' names in the Compute API's `Quota.metric`; which disks count where in
https://cloud.google.com/compute/resource-usage; the policies in
https://cloud.google.com/resource-manager/docs/organization-policy/org-policy-constraints; that the provider does not
take the quota project from the credentials' file, and the two settings that name it, in
github.com/hashicorp/terraform-provider-google issues 20459 and 24500 and its guide "Provider Configuration Reference".
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.cloud import gcloud
from shoal.cost import prices as cost
from shoal.errors import Fault, ShoalError, UsageError
from shoal.lifecycle.plan import BUCKET, DISK, INSTANCE, Plan
from shoal.telling import Say

SERVICES = ("compute", "iap", "iam", "oslogin", "cloudresourcemanager")
BUCKET_SERVICE = "storage"
ROLES: dict[str, tuple[str, ...]] = {
    "roles/compute.admin": ("roles/owner", "roles/editor"),
    "roles/iam.serviceAccountAdmin": ("roles/owner",),
    "roles/iam.serviceAccountUser": ("roles/owner", "roles/editor"),
    "roles/resourcemanager.projectIamAdmin": ("roles/owner",),
    "roles/iap.tunnelResourceAccessor": ("roles/owner",),
    "roles/compute.osAdminLogin": ("roles/owner",),
}
"""What whoever brings a lab up needs, and what holds it, too."""
MEMBERS_ROLE, BUCKET_ROLE = "roles/iap.admin", "roles/storage.admin"
QUOTA_ROLE = "roles/serviceusage.serviceUsageConsumer"
"""Who names a project whose quota a request counts against has to be allowed to use its services."""
OVERRIDE, BILLED = "gcp:userProjectOverride", "gcp:billingProject"
"""The provider's settings by which its requests count against a project that is named, not the credentials' own."""
DISK_QUOTAS = {
    "pd-standard": "DISKS_TOTAL_GB",
    "pd-balanced": "SSD_TOTAL_GB",
    "pd-ssd": "SSD_TOTAL_GB",
    "hyperdisk-balanced": "HDB_TOTAL_GB",
}
QUOTA_PAGE = "https://console.cloud.google.com/iam-admin/quotas?project={project}"


@dataclass(frozen=True, slots=True)
class Lack:
    """One thing that is missing or forbidden, and how to mend it."""

    what: str
    why: str
    mend: str
    certain: bool = True
    """Whether the lab cannot be made so; else it may come by a way that is not seen from here, as a group's role."""

    def __str__(self) -> str:
        return f"{self.what}: {self.why}; {self.mend}"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a lab wants of its project."""

    project: str
    region: str
    quotas: Mapping[str, int]
    login: str = "os-login"
    members: bool = False
    bucket: bool = False
    image_project: str = "debian-cloud"
    quota_named: bool = False
    """Whether the settings name the project whose quota requests count against."""


def wishes(plan: Plan, project: str, settings: Mapping[str, Any], prices: cost.Prices) -> Wishes | None:
    """What the plan would make anew; None where it makes no machine, disk or bucket."""
    made = [step for step in plan.steps if step.operation == "create" and step.kind in (INSTANCE, DISK, BUCKET)]
    if not made:
        return None
    quotas = Counter[str]()
    for step in made:
        inputs = step.after or {}
        if step.kind == INSTANCE:
            quotas.update(_machine(inputs, prices))
        elif step.kind == DISK:
            quotas[DISK_QUOTAS.get(str(inputs.get("type")), "SSD_TOTAL_GB")] += int(inputs.get("size") or 0)
    zones = [str((step.after or {}).get("zone")) for step in made if (step.after or {}).get("zone")]
    region = zones[0].rpartition("-")[0] if zones else str(settings.get("region") or "us-central1")
    image = str(settings.get("image") or "projects/debian-cloud/")
    return Wishes(
        project,
        region,
        dict(quotas),
        login=str(settings.get("login") or "os-login"),
        members=bool(settings.get("sshMembers")),
        bucket=any(step.kind == BUCKET for step in made),
        image_project=image.split("/")[1] if image.startswith("projects/") else "debian-cloud",
        quota_named=str(settings.get(OVERRIDE)).lower() == "true" and bool(settings.get(BILLED)),
    )


def look(wanted: Wishes, say: Say) -> None:
    """Look at the project. Raises UsageError with everything that it lacks for sure, and says the rest.

    What cannot be asked, for want of a right or a network, is said and stops nothing: the cloud will answer.
    """
    say(f"looking whether project {wanted.project} has what the lab needs")
    lacks = list(credentials(wanted, adc_file()))
    for answer in _asked(_questions(wanted, say)):
        if isinstance(answer, ShoalError):
            say(f"could not look at the project for all: {answer.message}")
        else:
            lacks += answer
    for lack in lacks:
        if not lack.certain:
            say(f"perhaps missing, {lack}")
    faults = tuple(Fault(lack.what, f"{lack.why}; {lack.mend}") for lack in lacks if lack.certain)
    if faults:
        raise UsageError(
            f"project {wanted.project} lacks {len(faults)} thing(s) that the lab needs; nothing was changed",
            faults=faults,
            hint="mend each by its command, then type the same again",
        )


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """What the lab would take of one quota, and what there is of it."""

    metric: str
    needed: int
    limit: float
    free: float
    where: str

    def __str__(self) -> str:
        return f"{self.metric} {self.needed} of {self.free:g} free"


def quota_uses(wanted: Wishes, region: Mapping[str, Any], project: Mapping[str, Any]) -> list[QuotaUse]:
    """What the lab's machines and disks would take of each quota, of the region and of all regions together."""
    told = {str(entry["metric"]): entry for entry in [*project.get("quotas", []), *region.get("quotas", [])]}
    needs = dict(wanted.quotas)
    if spot := needs.get("PREEMPTIBLE_CPUS"):
        # Without a quota of their own spot machines count against the ordinary one.
        if not float(told.get("PREEMPTIBLE_CPUS", {}).get("limit") or 0):
            needs["CPUS"] = needs.get("CPUS", 0) + spot
            del needs["PREEMPTIBLE_CPUS"]
        needs["CPUS_ALL_REGIONS"] = needs.get("CPUS_ALL_REGIONS", 0) + spot
    found = []
    for metric, need in sorted(needs.items()):
        if (entry := told.get(metric)) is not None:
            limit = float(entry["limit"])
            where = f"region {wanted.region}" if entry in region.get("quotas", []) else "all regions"
            found.append(QuotaUse(metric, need, limit, limit - float(entry["usage"]), where))
    return found


def quotas(wanted: Wishes, uses: Iterable[QuotaUse]) -> Iterator[Lack]:
    """Quotas that the lab's machines and disks would exceed."""
    for use in uses:
        if use.needed > use.free:
            yield Lack(
                f"quota {use.metric}",
                f"{use.needed} more are needed in {use.where}, and {use.free:g} of {use.limit:g} are free",
                f"raise it at {QUOTA_PAGE.format(project=wanted.project)}, or make the lab smaller (count, sizes)",
            )


def services(wanted: Wishes, enabled: Iterable[Mapping[str, Any]]) -> Iterator[Lack]:
    """Services that are not switched on."""
    on = {str((entry.get("config") or {}).get("name") or entry.get("name", "").rpartition("/")[2]) for entry in enabled}
    wants = [f"{name}.googleapis.com" for name in (*SERVICES, *([BUCKET_SERVICE] if wanted.bucket else []))]
    if off := [name for name in wants if name not in on]:
        command = f"gcloud services enable {' '.join(off)} --project={wanted.project}"
        yield Lack("services", f"not enabled: {', '.join(off)}", f"`{command}`")


def roles(wanted: Wishes, policy: Mapping[str, Any], account: str) -> Iterator[Lack]:
    """Roles that the account has not by its own name; a group or a folder may give them."""
    held = {
        str(binding["role"])
        for binding in policy.get("bindings", [])
        if any(str(member).partition(":")[2] == account for member in binding.get("members", []))
    }
    wants = dict(ROLES)
    if wanted.login != "os-login":
        del wants["roles/compute.osAdminLogin"]
    if wanted.members:
        wants[MEMBERS_ROLE] = ("roles/owner",)
    if wanted.bucket:
        wants[BUCKET_ROLE] = ("roles/owner",)
    if wanted.quota_named:
        wants[QUOTA_ROLE] = ("roles/owner", "roles/editor")
    kind = "serviceAccount" if account.endswith(".gserviceaccount.com") else "user"
    for role, others in wants.items():
        if not held & {role, *others}:
            command = f"gcloud projects add-iam-policy-binding {wanted.project} --member={kind}:{account} --role={role}"
            yield Lack("role", f"{account} has not {role} by its own name", f"`{command}`", certain=False)


def policies(wanted: Wishes, found: Mapping[str, Mapping[str, Any]]) -> Iterator[Lack]:
    """Policies of the organisation that forbid what the lab does, by their effective values."""
    for name, policy in found.items():
        mend = (
            f"ask the organisation's administrator for an exception: `gcloud resource-manager org-policies describe "
            f"{name} --project={wanted.project} --effective`"
        )
        values = policy.get("listPolicy") or {}
        enforced = bool((policy.get("booleanPolicy") or {}).get("enforced"))
        restricted = bool(
            values.get("allValues") == "DENY" or values.get("allowedValues") or values.get("deniedValues")
        )
        if name == "compute.requireOsLogin" and enforced and wanted.login == "key":
            yield Lack(name, "OS Login is required, and the settings have login: key", "set `--set login=os-login`")
        elif name == "compute.disableGuestAttributesAccess" and enforced:
            yield Lack(name, "machines may not publish their host keys, which leaves no checked way in", mend)
        elif name == "iam.disableServiceAccountCreation" and enforced:
            yield Lack(name, "no service accounts may be made", mend)
        elif name == "compute.restrictCloudNATUsage" and restricted:
            yield Lack(name, "the machines' way out may be forbidden", mend, certain=values.get("allValues") == "DENY")
        elif name == "compute.trustedImageProjects" and restricted and not _trusts(values, wanted.image_project):
            yield Lack(name, f"images of {wanted.image_project} are not trusted", f"{mend}, or set `image`")
        elif name == "iam.allowedPolicyMemberDomains" and restricted and wanted.members:
            yield Lack(name, "sshMembers of other domains are refused", mend, certain=False)
        elif name == "gcp.resourceLocations" and restricted and not _located(values, wanted.region):
            yield Lack(name, f"{wanted.region} may not be allowed", f"{mend}, or set `region`", certain=False)


POLICIES = (
    "compute.requireOsLogin", "compute.disableGuestAttributesAccess", "iam.disableServiceAccountCreation",
    "compute.restrictCloudNATUsage", "compute.trustedImageProjects", "iam.allowedPolicyMemberDomains",
    "gcp.resourceLocations",
)  # fmt: skip


def credentials(wanted: Wishes, file: Path) -> Iterator[Lack]:
    """What Pulumi's provider logs in with: application-default credentials, and the project whose quota they use."""
    if _from_environment():
        return
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        login = f"`gcloud auth application-default login --project={wanted.project}`"
        yield Lack("credentials", f"there are no application-default credentials at {file}", login)
        return
    except (OSError, ValueError):
        yield Lack("credentials", f"{file} cannot be read", "`gcloud auth application-default login`", certain=False)
        return
    if content.get("type") == PERSON and not wanted.quota_named:
        mend = f"`--set {OVERRIDE}=true --set {BILLED}={wanted.project}`"
        yield Lack("quota project", "a person's credentials have none, and services such as IAP refuse them then", mend)


PERSON = "authorized_user"
"""The type of credentials that a person's login leaves."""


def of_a_person(file: Path) -> bool:
    """Whether Pulumi's provider logs in as a person: such credentials have no project of their own."""
    if _from_environment():
        return False
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # `credentials` reports it
    return isinstance(content, dict) and content.get("type") == PERSON


def _from_environment() -> bool:
    return bool(os.environ.get("GOOGLE_CREDENTIALS") or os.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN"))


def _questions(wanted: Wishes, say: Say) -> list[Callable[[], list[Lack]]]:
    of = f"--project={wanted.project}"

    def policy() -> list[Lack]:
        found = gcloud.document("projects", "get-iam-policy", wanted.project)
        return list(roles(wanted, found, gcloud.text("config", "get-value", "account").strip()))

    def limits() -> list[Lack]:
        region = gcloud.document("compute", "regions", "describe", wanted.region, of)
        uses = quota_uses(wanted, region, gcloud.document("compute", "project-info", "describe", of))
        say(f"quotas that the lab takes of {wanted.region}: {', '.join(map(str, uses)) or 'none is known'}")
        return list(quotas(wanted, uses))

    def enabled() -> list[Lack]:
        return list(services(wanted, gcloud.document("services", "list", "--enabled", of)))

    def forbidden(name: str) -> Callable[[], list[Lack]]:
        def ask() -> list[Lack]:
            command = ("resource-manager", "org-policies", "describe", name, of, "--effective")
            return list(policies(wanted, {name: gcloud.document(*command)}))

        return ask

    return [enabled, limits, policy, *(forbidden(name) for name in POLICIES)]


def _asked(questions: Sequence[Callable[[], list[Lack]]]) -> list[list[Lack] | ShoalError]:
    """Every answer, or why there is none; a missing service makes several fail, and is found by its own question."""

    def one(question: Callable[[], list[Lack]]) -> list[Lack] | ShoalError:
        try:
            return question()
        except ShoalError as error:
            return error

    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(one, questions))


def _machine(inputs: Mapping[str, Any], prices: cost.Prices) -> Counter[str]:
    needs = Counter[str](INSTANCES=1)
    shape = cost.shape(str(inputs.get("machineType")), prices)
    boot = (inputs.get("bootDisk") or {}).get("initializeParams") or {}
    needs[DISK_QUOTAS.get(str(boot.get("type")), "SSD_TOTAL_GB")] += int(boot.get("size") or 0)
    if shape is not None:
        if (inputs.get("scheduling") or {}).get("provisioningModel") == "SPOT":
            needs["PREEMPTIBLE_CPUS"] += shape.vcpus
        else:
            needs["CPUS_ALL_REGIONS"] += shape.vcpus
            needs["CPUS" if shape.family in ("e2", "n1") else f"{shape.family.upper()}_CPUS"] += shape.vcpus
    return needs


def _trusts(values: Mapping[str, Any], project: str) -> bool:
    name = f"projects/{project}"
    if values.get("allValues") == "DENY" or name in (values.get("deniedValues") or []):
        return False
    allowed = values.get("allowedValues")
    return allowed is None or name in allowed


def _located(values: Mapping[str, Any], region: str) -> bool:
    allowed = values.get("allowedValues")
    return allowed is None or any(region in str(value) for value in allowed)


def adc_file() -> Path:
    """Where application-default credentials are looked for, as Google's own libraries do."""
    if named := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return Path(named)
    folder = os.environ.get("CLOUDSDK_CONFIG")
    return (Path(folder) if folder else Path.home() / ".config" / "gcloud") / "application_default_credentials.json"
