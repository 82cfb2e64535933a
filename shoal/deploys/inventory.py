"""From a cluster document to pyinfra's hosts and groups; what the files under inventories/ are made of."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from shoal.cluster import overlay as overlays
from shoal.cluster import owners, which
from shoal.cluster import reach as reaches
from shoal.cluster.document import Cluster, Node, Substrate
from shoal.cluster.overlay import Overlay
from shoal.deploys import handover, lock
from shoal.errors import ShoalError, UsageError
from shoal.paths import expanded
from shoal.site import document as sites
from shoal.site import event_rules, outbox, watch
from shoal.telling import to_stderr

HostEntry = tuple[str, dict[str, Any]]
Groups = tuple[list[HostEntry], list[HostEntry]]


def hosts(substrate: Substrate) -> Groups:
    """The groups `requester` and `compute` of the cluster document that the environment or the substrate names.

    What `run_deploy` has read is handed over and not read again; where a person began pyinfra, it is read here, and
    the deploy locks of the machines are taken for as long as pyinfra's command runs. Hosts are reached by the
    connector `@openssh`. Inside pyinfra's own command every error becomes one of pyinfra's, which it prints as one
    message and not as a traceback; a `--limit` or `--exclude` that leaves no host is such an error too (pyinfra itself
    would end well).
    """
    try:
        given = handover.received()
        if given.cluster is not None:
            cluster, note = given.cluster, given.overlay
            unreached: Mapping[str, str] = given.unreached
            refuse_empty(cluster, substrate, *_limits())
        else:
            cluster, note = _read(substrate)
            unreached = _locked(cluster, sorted(refuse_empty(cluster, substrate, *_limits())))
        engine = _engine_data(cluster) if given.engine is None else given.engine
        return _over_openssh(entries(cluster, note, engine), unreached)
    except ShoalError as error:
        if "pyinfra_cli" not in sys.modules:
            raise
        from pyinfra.api.exceptions import PyinfraError  # noqa: PLC0415 - never loaded by the control side itself

        raise PyinfraError(str(error)) from None


def load(substrate: Substrate) -> Cluster:
    """The substrate's cluster, as `shoal.cluster.which` decides it; one line on stderr names it.

    Nodes that have moved onto the mesh have their addresses there. Where a stack's document is not kept here (another
    machine made it), the stack itself is asked for it. Raises UsageError as `which.opened` does.
    """
    return _read(substrate)[0]


def _read(substrate: Substrate) -> tuple[Cluster, Overlay | None]:
    choice = which.choose(substrate=substrate)
    if substrate in {"gcp", "edge"} and not choice.path.exists() and shutil.which("pulumi"):
        from shoal.cloud import pulumi  # noqa: PLC0415 - only stacks need it

        stack = pulumi.find("gcp" if substrate == "gcp" else "edge")
        cluster = pulumi.document(stack)
        owners.refuse_taken(cluster, choice.path)
        to_stderr(f"cluster {cluster.name!r} ({substrate}): the output of stack {stack.name!r}")
    else:
        cluster = which.opened(choice, claim=True)
        to_stderr(which.first_line(choice, cluster))
    reach = reaches.made(choice.path, cluster)
    return reach.now, reach.note


def groups(cluster: Cluster) -> Groups:
    """Host entries by role, with what is kept about the mesh and the engine that the cache has."""
    note = overlays.load(cluster.name) if cluster.mesh == "tailscale" else None
    return entries(cluster, note, _engine_data(cluster))


def entries(cluster: Cluster, note: Overlay | None, engine: Mapping[str, Any]) -> Groups:
    """Host entries by role; a machine with both roles stands in both groups. `engine` is host data of the choice."""
    site = sites.load(cluster.name)
    common = {
        # What was not set stays unset: a port that the document leaves out is the ssh configuration's to name.
        "shoal_cluster": cluster.model_dump(mode="json", exclude_unset=True),
        "shoal_site": str(sites.document_path(cluster.name)) if site else None,
        **_lab_data(cluster),
        **_image_data(site),
        **engine,
        **({**note.settings, "shoal_mesh_services": note.services} if note else {}),
    }
    shipping = outbox.deploy_data(outbox.of_cluster(site.outbox if site else None, cluster))
    found = {
        node.name: (
            node.name,
            {
                **common,
                **_ssh_data(cluster, node),
                **_node_data(node, site),
                **(shipping if node.has_role("compute") else {}),
            },
        )
        for node in cluster.nodes
    }
    return [found[cluster.requester.name]], [found[node.name] for node in cluster.compute]


def _over_openssh(named: Groups, unreached: Mapping[str, str]) -> Groups:
    requester, compute = (
        [(f"@openssh/{name}", {**data, "shoal_unreached": unreached.get(name)}) for name, data in group]
        for group in named
    )
    return requester, compute


def _locked(cluster: Cluster, names: Sequence[str]) -> Mapping[str, str]:
    """Take the deploy locks for a deploy that a person began with plain pyinfra, until its command ends.

    Returns why machines have none, by name.
    """
    context = _context()
    if context is None or not _changes(context.params):
        return {}
    breaks = any(text.replace(" ", "") == "break_lock=true" for text in context.params.get("data") or ())

    def stop(broken: lock.Lock) -> None:
        sys.stderr.write(f"the deploy is ended: its lock was broken: {broken.lost}\n")
        os.kill(os.getpid(), signal.SIGTERM)

    command = " ".join(["pyinfra", *sys.argv[1:]])
    held = lock.held(cluster, names, command, break_lock=breaks, say=to_stderr, on_loss=stop)
    taken: lock.Lock = context.with_resource(held)
    return taken.unreached


def _changes(params: Mapping[str, Any]) -> bool:
    """Whether pyinfra's command runs deploy files and may change machines; facts and single commands are no deploy."""
    if params.get("dry") or params.get("debug_facts") or params.get("debug_operations"):
        return False
    if params.get("json_output") and not params.get("yes"):
        return False  # then pyinfra changes nothing
    return any(str(word).endswith(".py") for word in params.get("operations") or ())


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


def _limits() -> tuple[Sequence[str], Sequence[str]]:
    """`--limit` and `--exclude` of the pyinfra command this runs in; nothing where there is none."""
    params: Mapping[str, Any] = context.params if (context := _context()) else {}
    return tuple(params.get("limit") or ()), tuple(params.get("exclude") or ())


def _context() -> Any:
    """The command line that pyinfra was begun with; None outside of its command."""
    if "pyinfra_cli" not in sys.modules:
        return None
    import click  # noqa: PLC0415 - pyinfra's own command line library, there already

    return click.get_current_context(silent=True)


def _node_data(node: Node, site: sites.SiteDocument | None) -> dict[str, Any]:
    clips = site.videos.get(node.name, ()) if site else ()
    return {
        "shoal_node": node.model_dump(mode="json", exclude_unset=True),
        "ssh_hostname": node.address,
        "ssh_user": node.user,
        "_sudo": node.user != "root",
        "videos_camera_folders": list(node.camera_folders),
        "recorder_cameras": [camera.model_dump(mode="json") for camera in node.cameras],
        **_watch_data(node, site),
        "bacalhau_whole_videos": node.privacy is not None,
        "videos_key_frames": node.privacy.key_frames if node.privacy else None,
        "videos_event_rules": event_rules.for_nodes(site.events) if site and site.events else None,
        "videos_files": [clip.model_dump(mode="json") for clip in clips],
    }


def _watch_data(node: Node, site: sites.SiteDocument | None) -> dict[str, Any]:
    if site is None or not node.has_role("compute"):
        return {}
    weights = (site.weights[0].sha256, site.weights[0].name) if site.weights else None
    return watch.deploy_data(site.watch, node, weights)


def _ssh_data(cluster: Cluster, node: Node) -> dict[str, Any]:
    """What the connector reads: see `shoal.deploys.connector.OpenSshData`."""
    ssh = cluster.ssh
    data: dict[str, Any] = {"ssh_strict_host_key_checking": "yes"}  # for pyinfra's own connector, if somebody takes it
    if ssh.identity_file:
        data["ssh_key"] = str(expanded(ssh.identity_file))
    if ssh.known_hosts_file:
        data["ssh_known_hosts_file"] = str(expanded(ssh.known_hosts_file))
    if ssh.config_file:
        data["ssh_config_file"] = str(expanded(ssh.config_file))
    # Nodes on the mesh and nodes at their first addresses are each reached by the way that leads there.
    if proxy := node.proxy(ssh):
        data["ssh_proxy_command"] = proxy
    if "port" in node.model_fields_set:
        data["ssh_port"] = node.port
    return data


def _lab_data(cluster: Cluster) -> dict[str, Any]:
    """Inner engines cannot use a lab node's resolver, nor a larger MTU than the way out has."""
    if cluster.substrate != "lab":
        return {}
    from shoal.lab import state  # noqa: PLC0415 - other substrates need nothing of the lab

    facts = state.load_facts(cluster.name)
    return {"docker_dns": list(facts.dns), "docker_mtu": facts.mtu} if facts else {}


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
