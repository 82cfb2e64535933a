"""What `shoal up`, `bootstrap` and `destroy` do, for both stacks; each can be typed again after an interruption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from shoal.cloud import gcloud, pulumi
from shoal.cloud.pulumi import Kind, Stack, document
from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster
from shoal.cluster.reach import Reach
from shoal.cost import prices
from shoal.deploys import run as deploys
from shoal.engines import choice as engines
from shoal.engines.bacalhau import secrets
from shoal.errors import UsageError
from shoal.files import write_atomic
from shoal.fleet import leave as leaving
from shoal.fleet.leave import Parting
from shoal.lifecycle import access, expired, first_look, give_up, partly, plan, receipt, run_limit, tailnet_key
from shoal.lifecycle import kept_files as known
from shoal.lifecycle.receipt import Leftover, Receipt
from shoal.lifecycle.recover import recover
from shoal.mesh import moving
from shoal.paths import cluster_document
from shoal.site import document as site
from shoal.telling import Say


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person gives to `up`."""

    project: str | None = None
    ttl_hours: int | None = None
    settings_file: Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    """Another zone for a node, by its name."""
    give_up: tuple[str, ...] = ()
    """Nodes whose data may go, and `bucket`."""


@dataclass(frozen=True, slots=True)
class MeshWay:
    """What a person gives to `bootstrap` about the mesh; it is kept for later."""

    proxy_command: str | None = None
    """How this machine gets onto the mesh, if not directly."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the roles tailscale and firewall."""


def up(stack: Stack, wanted: Wanted, say: Say, *, preview_only: bool = False) -> Cluster | None:
    """Make or change the stack and keep its document; only show what would be done with `preview_only`.

    Raises UsageError and ShoalError; nothing is made where the settings have a fault, the cost is over the ceiling, or
    something would go that holds data or carries others and was not given up. Settings that were refused or only
    previewed are not kept. An update of which a part fails does the rest, keeps the document of the machines that are
    there, and raises.
    """
    pulumi.ensure(stack)
    recover(stack, _project(stack, wanted.project), say)
    with _kept_where_carried_out(stack, preview_only=preview_only):
        _settle(stack, wanted, say)
        given_up = _given_up(stack, wanted)
        planned = plan.look(stack)
        for line in planned.remarks:
            say(line)
        plan.refuse(stack, planned, given_up)
        _look_at_project(stack, planned, say)
        for step in planned.anew:
            why = ", ".join(step.because)
            say(f"{step.name}: the machine is made anew ({why}), its data disk stays; bootstrap again")
        if preview_only:
            _preview(stack, given_up, say)
            return None
    if given_up:
        give_up.carry_out(stack, given_up, say)
    project, name = _project(stack, None), known.cluster_name(stack)
    if project is not None:
        run_limit.settle(project, name, _plain_settings(stack), say)
    shown = pulumi.show(stack, *pulumi.selected(stack, pulumi.UP))
    cluster = _made(stack)
    if cluster is not None:
        known.keep(cluster)
    if shown.code != 0 or cluster is None:
        raise partly.failure(stack, shown, _machines_of(planned), cluster)
    say(f"stack {stack.name!r}: {len(cluster.nodes)} machine(s), document at {cluster_document(cluster.name)}")
    return cluster


def bootstrap(
    stack: Stack,
    say: Say,
    *,
    videos: Path | None = None,
    weights: Path | None = None,
    way: MeshWay | None = None,
    break_lock: bool = False,
    sudo_password: SecretStr | None = None,
) -> Cluster:
    """Machines become a cluster: wait until they let us in, place what the site needs, run the site's deploy.

    With a mesh they join it first and are reached over it from then on; the document gives how each is reached.
    """
    cluster, kept = document(stack), dict[str, Any]()
    if stack.kind == "gcp":
        project = _project(stack, None)
        if project is None:
            raise UsageError(f"gcp:project is not set for stack {stack.name!r}")
        key, _ = access.key_file(stack.name)
        if _plain_settings(stack).get("login", "os-login") == "os-login":
            access.os_login(key, project)
        cluster = access.localise(cluster, key, project=project, say=say)
    else:
        kept = pulumi.outputs(stack, secret=True)
        cluster = _edge_access(cluster, kept)
        known.keep(cluster)
    reach = reaches.made(cluster_document(cluster.name), cluster).with_sudo_password(sudo_password)
    own = any(node.camera_folders for node in cluster.compute)
    site.prepare(cluster, videos=videos, weights=weights, with_videos=videos is not None or not own, say=say)
    choice = engines.choose("auto", cluster, say=say)
    say(str(choice))
    stack_secrets = kept.get("secrets") or {}
    if choice.engine == "bacalhau" and (token := stack_secrets.get("orchestratorToken")):
        secrets.adopt(cluster.name, SecretStr(token))
    if cluster.mesh == "tailscale":
        keeps_key = tailnet_key.OUTPUT in stack_secrets
        settings = _mesh_settings(stack, reach, way or MeshWay(), keeps_key=keeps_key)
        reach = moving.on_before_site(
            reach,
            say,
            proxy_command=way.proxy_command if way else None,
            settings=settings,
            engine=choice,
            break_lock=break_lock,
        )
    result = deploys.run_deploy(reach, "site", engine=choice, break_lock=break_lock, say=say)
    say(f"{result.changed} operations changed something on {len(result.hosts)} machine(s)")
    return reach.now


def destroy(
    stack: Stack,
    say: Say,
    *,
    force: bool = False,
    drain_timeout_s: float = leaving.DRAIN_TIMEOUT_S,
    sudo_password: SecretStr | None = None,
) -> tuple[Receipt, Path]:
    """Drain, unregister, destroy, and look for leftovers in the cloud itself. The receipt says what was found.

    Raises StillAtWorkError, with nothing destroyed, where work goes on after `drain_timeout_s`; `force` stops it.
    """
    if not pulumi.exists(stack):
        raise UsageError(f"there is no stack {stack.name!r}", hint=f"`pulumi stack ls` in {stack.folder} lists them")
    project, name = _project(stack, None), known.cluster_name(stack)
    if stack.kind == "gcp":
        gcloud.require()  # found out before, not after everything is gone
    recover(stack, project, say)
    parting, cluster = Parting(), known.find(stack)
    if cluster is None or not site.document_path(name).exists():
        say("the machines were never bootstrapped from here: nothing to drain")
    else:
        parting = leaving.leave(cluster.with_sudo_password(sudo_password), say, timeout_s=drain_timeout_s, force=force)
    # Protected against what is typed again; here it was asked for.
    if _in_state(stack):
        pulumi.call(stack, "state", "unprotect", "--all", "--yes", "--stack", stack.name)
    shown = pulumi.show(stack, *pulumi.selected(stack, pulumi.DESTROY))
    found = receipt.Found(["the stack's state"], _in_state(stack), receipt.refusals(shown))
    if stack.kind == "gcp" and project is not None:
        say("looking for leftovers in the cloud, by label and name")
        found.add(receipt.search(project, name))
    if found.clean and shown.code == 0:
        if stack.kind == "gcp":
            access.take_key_away(stack.name, project, say)
        known.forget(stack)
    return receipt.write(stack.kind, name, project=project, parting=parting, found=found)


def _mesh_settings(stack: Stack, reach: Reach, way: MeshWay, *, keeps_key: bool) -> dict[str, Any]:
    """Settings of the mesh's roles. An edge stack that keeps a key is asked for it, unless another source was named."""
    settings = dict(way.settings)
    named = {**(reach.note.settings if reach.note else {}), **settings}
    if keeps_key and not {"tailscale_authkey_file", "tailscale_authkey_command"} & set(named):
        settings["tailscale_authkey_command"] = tailnet_key.command(stack.name)
    return settings


@contextmanager
def _kept_where_carried_out(stack: Stack, *, preview_only: bool) -> Iterator[None]:
    """The settings as they were where the block refuses the new ones, and after a preview: they are not in the way of
    what is typed next.
    """
    before = stack.settings_file.read_bytes() if stack.settings_file.exists() else None
    carried_out = False
    try:
        yield
        carried_out = not preview_only
    finally:
        if not carried_out and before is None:
            stack.settings_file.unlink(missing_ok=True)
        elif not carried_out and before is not None:
            write_atomic(stack.settings_file, before)


def _preview(stack: Stack, given_up: Sequence[str], say: Say) -> None:
    """Show what an update would do. Raises ShoalError where the preview fails.

    Of what was given up only the names are shown: the engine stops a preview at what is protected.
    """
    if given_up:
        for name, urns in give_up.resources(stack, given_up).items():
            things = ", ".join(urn.rpartition("::")[2] for urn in urns)
            say(f"{name}: {things} would be destroyed first, with all data; what is still wanted of it is made again")
        say("the rest of the update can be previewed only when they are gone")
        return
    shown = pulumi.show(stack, *pulumi.selected(stack, ["preview", "--refresh"]))
    if shown.code != 0:
        raise pulumi.failure("preview", shown.code, "")


def _given_up(stack: Stack, wanted: Wanted) -> tuple[str, ...]:
    """What was named, and nodes that move to another zone with a disk that no machine has ever had."""
    names = list(wanted.give_up)
    if wanted.zones and (project := _project(stack, None)):
        names += give_up.blank(stack, wanted.zones, project)
    if names:
        give_up.resources(stack, names)
    return tuple(dict.fromkeys(names))


def _made(stack: Stack) -> Cluster | None:
    """The document of the machines that are there, with this machine's way in; None where they make no cluster yet."""
    if pulumi.outputs(stack).get("cluster") is None:
        return None
    cluster = document(stack)
    return _edge_access(cluster, pulumi.outputs(stack)) if stack.kind == "edge" else _cloud_access(stack, cluster)


def _machines_of(planned: plan.Plan) -> list[str]:
    """The machines that an update was to leave."""
    stays = ("same", "update", "create", "replace")
    return sorted({step.name for step in planned.steps if step.kind == plan.INSTANCE and step.operation in stays})


def _look_at_project(stack: Stack, planned: plan.Plan, say: Say) -> None:
    """Whether the project has what would be made for the first time."""
    settings, project = _plain_settings(stack), _project(stack, None)
    own = settings.get("pricesFile")
    if project is None:
        return
    table = prices.load_prices(Path(own) if own else prices.TABLE)
    if (wanted := first_look.wishes(planned, project, settings, table)) is not None:
        first_look.look(wanted, say)


def _plain_settings(stack: Stack) -> dict[str, Any]:
    return {key.removeprefix(f"{stack.project}:"): value for key, value in pulumi.settings(stack).items()}


def _settle(stack: Stack, wanted: Wanted, say: Say) -> None:
    """Write what was given, and what was never given but is needed, into the stack's settings."""
    known = pulumi.settings(stack)
    changes = {
        _full(stack, key): value for key, value in {**_from_file(wanted.settings_file), **wanted.changes}.items()
    }
    if stack.kind == "gcp":
        changes |= _gcp_needs(stack, {**known, **changes}, wanted)
        if wanted.zones:
            key = _full(stack, "nodeZones")
            changes[key] = {**(known.get(key) or {}), **(changes.get(key) or {}), **wanted.zones}
    changed = {key: value for key, value in changes.items() if known.get(key) != value}
    if changed:
        say(f"settings of stack {stack.name!r}: {', '.join(sorted(changed))}")
        pulumi.change_settings(stack, changed)


def _gcp_needs(stack: Stack, known: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Project, whose quota counts, expiry and login, where they are not set yet."""
    needs: dict[str, Any] = {}
    project = wanted.project or known.get("gcp:project")
    if project is None:
        project = gcloud.text("config", "get-value", "project").strip() or None
    if project is None:
        raise UsageError("no Google Cloud project is named", hint="give --project, or `gcloud config set project ID`")
    needs["gcp:project"] = project
    if first_look.OVERRIDE not in known and first_look.of_a_person(first_look.adc_file()):
        # A person's credentials have no project of their own, and the provider takes none from their file.
        needs |= {first_look.OVERRIDE: "true", first_look.BILLED: known.get(first_look.BILLED) or project}
    expires = _full(stack, "expiresAt")
    if wanted.ttl_hours is not None or expires not in known or not _in_state(stack):
        end = datetime.now(UTC) + timedelta(hours=wanted.ttl_hours or 24)
        needs[expires] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
    user, public_key = _full(stack, "sshUser"), _full(stack, "sshPublicKey")
    key, fresh = access.key_file(stack.name)
    if known.get(_full(stack, "login"), "os-login") == "os-login":
        name = access.os_login(key, str(project))
        if fresh or user not in known:
            needs[user] = name
    elif fresh or public_key not in known:
        needs[public_key] = Path(f"{key}.pub").read_text(encoding="utf-8").strip()
    return needs


def _edge_access(cluster: Cluster, kept: Mapping[str, Any]) -> Cluster:
    """The document with a known_hosts file of the keys in the stack's settings, where it has them all."""
    lines = kept.get("knownHosts") or []
    if len(lines) < len(cluster.nodes):
        return cluster  # some keys are known to the user's own ssh only
    known_hosts = known.known_hosts_path(cluster.name)
    write_atomic(known_hosts, "".join(f"{line}\n" for line in lines))
    return cluster.model_copy(update={"ssh": cluster.ssh.model_copy(update={"known_hosts_file": known_hosts})})


def _cloud_access(stack: Stack, cluster: Cluster) -> Cluster:
    """The document with the way in that an earlier bootstrap left here; machines made since are still strangers."""
    key, known_hosts = known.key_path(stack.name), known.known_hosts_path(cluster.name)
    if not (key.is_file() and known_hosts.is_file()):
        return cluster
    way_in = {"identity_file": key, "known_hosts_file": known_hosts}
    return cluster.model_copy(update={"ssh": cluster.ssh.model_copy(update=way_in)})


def _project(stack: Stack, given: str | None) -> str | None:
    found = given or pulumi.settings(stack).get("gcp:project")
    return str(found) if found and stack.kind == "gcp" else None


def _full(stack: Stack, key: str) -> str:
    return key if ":" in key else f"{stack.project}:{key}"


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"the settings {path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"the settings {path} are not a table of keys and values")
    return {str(key): value for key, value in content.items()}


def expired_labs(stack: Stack, project: str | None) -> list[expired.Lab]:
    """The labs of the project (else the stack's, else gcloud's own) that are past their expiry. Raises ShoalError."""
    found = project or _project(stack, None) or gcloud.text("config", "get-value", "project").strip()
    if not found:
        raise UsageError("no Google Cloud project is named", hint="give --project, or `gcloud config set project ID`")
    own = _plain_settings(stack).get("pricesFile")
    return expired.find(found, prices.load_prices(Path(own) if own else prices.TABLE), datetime.now(UTC))


def parse_change(text: str) -> tuple[str, Any]:
    """`KEY=VALUE` as a setting; the value is read as YAML (`compute={count: 5}`, `maxRunHours=6`)."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{text!r} is no setting", hint="write --set KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"the value in {text!r} cannot be read: {error}") from None


def parse_place(text: str) -> tuple[str, str]:
    """`NODE=ZONE`. Raises UsageError."""
    node, equals, zone = text.partition("=")
    if not equals or not node or not zone:
        raise UsageError(f"{text!r} names no node and zone", hint="write --zone NODE=ZONE")
    return node, zone


def _in_state(stack: Stack) -> list[Leftover]:
    resources = (pulumi.state(stack).get("deployment") or {}).get("resources") or []
    return [
        Leftover(kind=entry["type"], name=entry["urn"].rpartition("::")[2], place="the stack's state")
        for entry in resources
        if entry.get("custom") and not entry["type"].startswith("pulumi:providers:")
    ]


__all__ = [
    "Kind",
    "MeshWay",
    "Wanted",
    "bootstrap",
    "destroy",
    "document",
    "expired_labs",
    "parse_change",
    "parse_place",
    "up",
]
