"""From a cluster document to pyinfra's hosts and groups; what the files under inventories/ are made of."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from shoal.cluster import overlay, owners, which
from shoal.cluster.document import Cluster, Node, Substrate
from shoal.errors import ShoalError, UsageError
from shoal.files import write_atomic
from shoal.paths import expanded, ssh_config_path
from shoal.site import document as sites
from shoal.site import event_rules, outbox
from shoal.ssh.client import PROXY_CONNECT_TIMEOUT_S
from shoal.telling import to_stderr

HostEntry = tuple[str, dict[str, Any]]
Groups = tuple[list[HostEntry], list[HostEntry]]


def hosts(substrate: Substrate) -> Groups:
    """The groups `requester` and `compute` of the cluster document that the environment or the substrate names.

    Inside pyinfra's own command every error becomes one of pyinfra's, which it prints as one message and not as a
    traceback; a `--limit` or `--exclude` that leaves no host is such an error too (pyinfra itself would end well).
    """
    try:
        cluster = load(substrate)
        refuse_empty(cluster, substrate, *_command_line())
        return groups(cluster)
    except ShoalError as error:
        if "pyinfra_cli" not in sys.modules:
            raise
        from pyinfra.api.exceptions import PyinfraError  # noqa: PLC0415 - never loaded by the control side itself

        raise PyinfraError(str(error)) from None


def load(substrate: Substrate) -> Cluster:
    """The substrate's cluster, as `shoal.cluster.which` decides it; one line on stderr tells which that is.

    Nodes that have moved onto the mesh have their addresses there. Where a stack's document is not kept here (another
    machine made it), the stack itself is asked for it. Raises UsageError as `which.opened` does.
    """
    choice = which.choose(substrate=substrate)
    if substrate in {"gcp", "edge"} and not choice.path.exists() and shutil.which("pulumi"):
        from shoal.cloud import pulumi  # noqa: PLC0415 - only stacks need it

        stack = pulumi.find("gcp" if substrate == "gcp" else "edge")
        cluster = pulumi.document(stack)
        owners.refuse_taken(cluster, choice.path)
        to_stderr(f"cluster {cluster.name!r} ({substrate}): the output of stack {stack.name!r}")
        return overlay.applied(cluster)
    cluster = which.opened(choice, claim=True)
    to_stderr(which.told(choice, cluster))
    return overlay.applied(cluster)


def groups(cluster: Cluster) -> Groups:
    """Host entries by role; a machine with both roles stands in both groups."""
    site = sites.load(cluster.name)
    common = {
        "shoal_cluster": cluster.model_dump(mode="json"),
        "shoal_site": str(sites.document_path(cluster.name)) if site else None,
        **_ssh_data(cluster),
        **_lab_data(cluster),
        **_image_data(site),
        **_engine_data(cluster),
        **_mesh_data(cluster),
    }
    shipping = outbox.deploy_data(outbox.of_cluster(site.outbox if site else None, cluster.events_bucket))
    entries = {
        node.name: (
            node.name,
            {**common, **_node_data(node, site), **(shipping if node.has_role("compute") else {})},
        )
        for node in cluster.nodes
    }
    return [entries[cluster.requester.name]], [entries[node.name] for node in cluster.compute]


def matched(cluster: Cluster, substrate: str, patterns: Iterable[str]) -> dict[str, set[str]]:
    """The hosts each pattern of `--limit` means, by pyinfra's own rule: a group's name, else a shell pattern."""
    members = {
        "all": {node.name for node in cluster.nodes},
        substrate: {node.name for node in cluster.nodes},
        "requester": {cluster.requester.name},
        "compute": {node.name for node in cluster.compute},
    }
    return {
        pattern: members[pattern]
        if pattern in members
        else {node.name for node in cluster.nodes if fnmatch(node.name, pattern)}
        for pattern in patterns
    }


def refuse_empty(cluster: Cluster, substrate: str, limit: Sequence[str] = (), exclude: Sequence[str] = ()) -> set[str]:
    """The names of the hosts that are left. Raises UsageError where a limit matches nothing or nothing is left."""
    names = {node.name for node in cluster.nodes}
    hint = f"hosts: {', '.join(sorted(names))}; groups: requester, compute, all"
    left = names
    if limit:
        found = matched(cluster, substrate, limit)
        if empty := [pattern for pattern, hits in found.items() if not hits]:
            raise UsageError(f"--limit {', '.join(map(repr, empty))} matches no host of {cluster.name!r}", hint=hint)
        left = set().union(*found.values())
    if exclude:
        left = left - set().union(*matched(cluster, substrate, exclude).values())
    if not left:
        raise UsageError(f"no host of {cluster.name!r} is left after --limit and --exclude", hint=hint)
    return left


def _command_line() -> tuple[Sequence[str], Sequence[str]]:
    """`--limit` and `--exclude` of the pyinfra command this runs in; nothing where there is none."""
    if "pyinfra_cli" not in sys.modules:
        return (), ()
    import click  # noqa: PLC0415 - pyinfra's own command line library, there already

    context = click.get_current_context(silent=True)
    params: Mapping[str, Any] = context.params if context else {}
    return tuple(params.get("limit") or ()), tuple(params.get("exclude") or ())


def _node_data(node: Node, site: sites.SiteDocument | None) -> dict[str, Any]:
    clips = site.videos.get(node.name, ()) if site else ()
    return {
        "shoal_node": node.model_dump(mode="json"),
        "ssh_hostname": node.address,
        "ssh_port": node.port,
        "ssh_user": node.user,
        "_sudo": node.user != "root",
        "videos_camera_folders": list(node.camera_folders),
        "bacalhau_whole_videos": node.privacy is not None,
        "videos_key_frames": node.privacy.key_frames if node.privacy else None,
        "videos_event_rules": event_rules.for_nodes(site.events) if site and site.events else None,
        "videos_files": [clip.model_dump(mode="json") for clip in clips],
    }


def _ssh_data(cluster: Cluster) -> dict[str, Any]:
    ssh = cluster.ssh
    data: dict[str, Any] = {"ssh_strict_host_key_checking": "yes"}
    if ssh.identity_file:
        data["ssh_key"] = str(expanded(ssh.identity_file))
    if ssh.known_hosts_file:
        data["ssh_known_hosts_file"] = str(expanded(ssh.known_hosts_file))
    if any(node.proxy(ssh) for node in cluster.nodes):
        data["ssh_config_file"] = str(_config_with_proxy(cluster))
        # The greeting comes only when the proxy's program has started.
        waits = {"timeout": PROXY_CONNECT_TIMEOUT_S, "banner_timeout": PROXY_CONNECT_TIMEOUT_S}
        data["ssh_paramiko_connect_kwargs"] = waits
    elif ssh.config_file:
        data["ssh_config_file"] = str(expanded(ssh.config_file))
    return data


def _config_with_proxy(cluster: Cluster) -> Path:
    """pyinfra takes a ProxyCommand from an ssh_config only: one is written that has it, after the user's own lines.

    Nodes on the mesh and nodes at their first addresses are each reached by the way that leads there.
    """
    own = expanded(cluster.ssh.config_file) if cluster.ssh.config_file else None
    try:
        before = own.read_text(encoding="utf-8") if own else ""
    except OSError as error:
        raise UsageError(f"the ssh configuration {own} cannot be read: {error.strerror}") from None
    path = ssh_config_path(cluster.name)
    ways: dict[str | None, list[str]] = {}
    for node in cluster.nodes:
        ways.setdefault(node.proxy(cluster.ssh), []).append(node.address)
    text = before + "".join(
        f"\nHost {'*' if len(ways) == 1 else ' '.join(addresses)}\n  ProxyCommand {proxy}\n"
        for proxy, addresses in ways.items()
        if proxy
    )
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text, mode=0o600)
    return path


def _lab_data(cluster: Cluster) -> dict[str, Any]:
    """Inner engines cannot use a lab node's resolver, nor a larger MTU than the way out has."""
    if cluster.substrate != "lab":
        return {}
    from shoal.lab import state  # noqa: PLC0415 - other substrates need nothing of the lab

    facts = state.load_facts(cluster.name)
    return {"docker_dns": list(facts.dns), "docker_mtu": facts.mtu} if facts else {}


def _mesh_data(cluster: Cluster) -> dict[str, Any]:
    """Settings of the mesh's roles, and whether the nodes' own traffic has moved onto it."""
    found = overlay.load(cluster.name) if cluster.mesh == "tailscale" else None
    return {**found.settings, "shoal_mesh_services": found.services} if found else {}


def _image_data(site: sites.SiteDocument | None) -> dict[str, Any]:
    if site is None:
        return {}
    data: dict[str, Any] = {
        "yolov5_weights": [entry.model_dump(mode="json") for entry in site.weights],
        "bacalhau_jobs": [job.model_dump(mode="json") for job in site.jobs],
    }
    if site.image.base_tarball:
        data["yolov5_base_tarball"] = str(site.image.base_tarball)
    if site.image.image_tarball:
        data["yolov5_image_tarball"] = str(site.image.image_tarball)
    return data


def _engine_data(cluster: Cluster) -> dict[str, Any]:
    """The engine's programs where the cluster runs with it; tokens are never host data, which pyinfra can print."""
    from shoal.engines import choice as engines  # noqa: PLC0415 - an HTTP client and all, for commands that may not need it

    return engines.deploy_data(engines.choose("auto", cluster))
