"""What `shoal up`, `bootstrap` and `destroy` do, for both stacks; each can be typed again after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from shoal import cluster as clusters
from shoal import deploys, site, ssh
from shoal.cluster import Cluster
from shoal.errors import ShoalError, UsageError
from shoal.files import write_atomic
from shoal.inventory import ssh_config_path
from shoal.lifecycle import access, gcloud, pulumi, receipt
from shoal.lifecycle.pulumi import Kind, Stack
from shoal.lifecycle.receipt import Leftover, Receipt
from shoal.lifecycle.recover import recover
from shoal.paths import cluster_document, state_dir

Say = Callable[[str], None]
KEY_TTL_HOURS = 24 * 30
"""How long the account's OS Login profile keeps this machine's key."""
DRAIN_TIMEOUT_S = 60.0
"""What a detector gets to end its video; the state folder keeps what is done either way."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person gives to `up`."""

    project: str | None = None
    ttl_hours: int | None = None
    settings_file: Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


def up(stack: Stack, wanted: Wanted, say: Say, *, preview_only: bool = False) -> Cluster | None:
    """Make or change the stack and keep its document; only show what would be done with `preview_only`.

    Raises UsageError and ShoalError; nothing is made where the settings have a fault or the cost is over the ceiling.
    """
    pulumi.ensure(stack)
    recover(stack, _project(stack, wanted.project), say)
    _settle(stack, wanted, say)
    if preview_only:
        pulumi.show(stack, *pulumi.selected(stack, ["preview", "--refresh"]))
        return None
    # The program checks everything at a preview, before the first resource.
    pulumi.show(stack, *pulumi.selected(stack, ["up", "--yes", "--refresh"]))
    cluster = document(stack)
    if stack.kind == "edge":
        cluster = _edge_access(stack, cluster)
    access.keep(cluster)
    say(f"stack {stack.name!r}: {len(cluster.nodes)} machine(s), document at {cluster_document(cluster.name)}")
    return cluster


def document(stack: Stack) -> Cluster:
    """The cluster document that the stack exports. Raises UsageError where it exports none."""
    exported = pulumi.outputs(stack).get("cluster")
    if exported is None:
        raise UsageError(f"stack {stack.name!r} has no cluster", hint=f"make it with `shoal up {stack.kind}`")
    return clusters.parse(exported, source=f"the output of stack {stack.name}")


def bootstrap(stack: Stack, say: Say, *, videos: Path | None = None, weights: Path | None = None) -> Cluster:
    """Machines become a cluster: wait until they let us in, place what the site needs, run the site's deploy."""
    cluster = document(stack)
    if stack.kind == "gcp":
        project = _project(stack, None)
        if project is None:
            raise UsageError(f"gcp:project is not set for stack {stack.name!r}")
        key, _ = access.key_file(stack.name)
        cluster = access.localise(cluster, key, project=project, say=say)
    else:
        cluster = _edge_access(stack, cluster)
        access.keep(cluster)
    site.prepare(cluster, videos=videos, weights=weights)
    result = deploys.run_deploy(cluster_document(cluster.name), "site", say=say)
    say(f"{result.changed} operations changed something on {len(result.hosts)} machine(s)")
    return cluster


def destroy(stack: Stack, say: Say) -> tuple[Receipt, Path]:
    """Drain, unregister, destroy, and look for leftovers in the cloud itself. The receipt says what was found."""
    if not pulumi.exists(stack):
        raise UsageError(f"there is no stack {stack.name!r}", hint=f"`pulumi stack ls` in {stack.folder} lists them")
    project, name = _project(stack, None), str(pulumi.settings(stack).get(f"{stack.project}:name") or stack.name)
    if stack.kind == "gcp":
        gcloud.require()  # found out before, not after everything is gone
    recover(stack, project, say)
    cluster = _known(stack)
    if cluster is not None:
        drain(cluster, say)
    pulumi.show(stack, *pulumi.selected(stack, ["destroy", "--yes"]))
    searched, left = (["the stack's state"], _in_state(stack))
    if stack.kind == "gcp" and project is not None:
        say("looking for leftovers in the cloud, by label and name")
        more, found = receipt.search(project, name)
        searched, left = [*searched, *more], [*left, *found]
    if not left:
        _forget(stack, cluster, name)
    return receipt.write(stack.kind, name, project=project, searched=searched, leftovers=left)


def drain(cluster: Cluster, say: Say) -> None:
    """Stop running detectors on the nodes that can be reached; they keep what is done. Others are told and left."""
    script = "docker ps -q --filter name=^shoal- | xargs -r docker stop -t 30"
    answers = ssh.on_each(
        cluster.compute,
        lambda node: ssh.run(cluster, node, "sh", "-c", script, root=True, timeout_s=DRAIN_TIMEOUT_S),
    )
    for name, answer in answers.items():
        if isinstance(answer, ShoalError):
            say(f"  {name} could not be drained: {answer.message}")


def _settle(stack: Stack, wanted: Wanted, say: Say) -> None:
    """Write what was given, and what was never given but is needed, into the stack's settings."""
    known = pulumi.settings(stack)
    changes = {
        _full(stack, key): value for key, value in {**_from_file(wanted.settings_file), **wanted.changes}.items()
    }
    if stack.kind == "gcp":
        changes |= _gcp_needs(stack, {**known, **changes}, wanted)
    changed = {key: value for key, value in changes.items() if known.get(key) != value}
    if changed:
        say(f"settings of stack {stack.name!r}: {', '.join(sorted(changed))}")
        pulumi.change_settings(stack, changed)


def _gcp_needs(stack: Stack, known: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Project, expiry and login, where they are not set yet."""
    needs: dict[str, Any] = {}
    project = wanted.project or known.get("gcp:project")
    if project is None:
        project = gcloud.text("config", "get-value", "project").strip() or None
    if project is None:
        raise UsageError("no Google Cloud project is named", hint="give --project, or `gcloud config set project ID`")
    needs["gcp:project"] = project
    expires = _full(stack, "expiresAt")
    if wanted.ttl_hours is not None or expires not in known or not _in_state(stack):
        end = datetime.now(UTC) + timedelta(hours=wanted.ttl_hours or 24)
        needs[expires] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
    user, public_key = _full(stack, "sshUser"), _full(stack, "sshPublicKey")
    key, fresh = access.key_file(stack.name)
    if known.get(_full(stack, "login"), "os-login") == "os-login":
        if fresh or user not in known:
            needs[user] = access.os_login(key, KEY_TTL_HOURS, str(project))
    elif fresh or public_key not in known:
        needs[public_key] = Path(f"{key}.pub").read_text(encoding="utf-8").strip()
    return needs


def _edge_access(stack: Stack, cluster: Cluster) -> Cluster:
    """The document with a known_hosts file of the keys in the stack's settings, where it has any.

    The stack's secrets go into a file beside it that only this user can read.
    """
    told = pulumi.outputs(stack, secret=True)
    secrets_file = cluster_document(cluster.name).with_suffix(".secrets")
    write_atomic(secrets_file, yaml.safe_dump(told.get("secrets") or {}), mode=0o600)
    lines = told.get("knownHosts") or []
    if len(lines) < len(cluster.nodes):
        return cluster  # some keys are known to the user's own ssh only
    known_hosts = cluster_document(cluster.name).with_suffix(".known_hosts")
    write_atomic(known_hosts, "".join(f"{line}\n" for line in lines))
    return cluster.model_copy(update={"ssh": cluster.ssh.model_copy(update={"known_hosts_file": known_hosts})})


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


def parse_change(text: str) -> tuple[str, Any]:
    """`KEY=VALUE` as a setting; the value is read as YAML (`compute={count: 5}`, `maxRunHours=6`)."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{text!r} is no setting", hint="write --set KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"the value in {text!r} cannot be read: {error}") from None


def _known(stack: Stack) -> Cluster | None:
    """The document as this machine keeps it, with its way in; None where it has never been reached."""
    for name in (stack.name, stack.kind):
        path = cluster_document(name)
        if path.exists():
            cluster = clusters.load(path)
            if cluster.substrate == stack.kind:
                return cluster
    return None


def _in_state(stack: Stack) -> list[Leftover]:
    resources = (pulumi.state(stack).get("deployment") or {}).get("resources") or []
    return [
        Leftover(kind=entry["type"], name=entry["urn"].rpartition("::")[2], place="the stack's state")
        for entry in resources
        if entry.get("custom") and not entry["type"].startswith("pulumi:providers:")
    ]


def _forget(stack: Stack, cluster: Cluster | None, name: str) -> None:
    """Unregister here: the stack with its backups, the documents, host keys and this machine's key for it."""
    # The settings stay: they are the person's own, and a list of boxes is not made again by itself.
    pulumi.call(stack, "stack", "rm", stack.name, "--yes", "--preserve-config")
    local = state_dir() / "pulumi" / ".pulumi"
    for left in local.glob(f"*/{stack.project}/{stack.name}.*"):
        left.unlink()
    for left in sorted((local / "backups").glob(f"**/{stack.project}/{stack.name}*/**/*"), reverse=True):
        left.rmdir() if left.is_dir() else left.unlink()
    files = [ssh_config_path(name), state_dir() / "keys" / stack.name, state_dir() / "keys" / f"{stack.name}.pub"]
    for known in {name, *([cluster.name] if cluster else []), stack.kind}:
        path = cluster_document(known)
        if path.exists() and clusters.load(path).substrate == stack.kind:
            files += [path, path.with_suffix(".known_hosts"), path.with_suffix(".secrets")]
    for path in files:
        path.unlink(missing_ok=True)


__all__ = ["Kind", "Wanted", "bootstrap", "destroy", "document", "drain", "parse_change", "up"]
