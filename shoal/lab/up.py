"""`up`: make or complete a lab; every step looks at what is there first, so it can be interrupted and typed again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from docker.models.containers import Container

from shoal.artifacts import lab_tools
from shoal.cluster import document as cluster_document
from shoal.cluster import owners
from shoal.cluster.document import Arch, Cluster, Node, SshAccess
from shoal.errors import ShoalError, UsageError
from shoal.lab import (
    base_image,
    cameras,
    client,
    firewall,
    host,
    inherit,
    inotify,
    mounts,
    names,
    node_image,
    ssh_files,
    state,
    store,
)
from shoal.lab import (
    engine as engines,
)
from shoal.lab import (
    network as networks,
)
from shoal.lab import (
    node as nodes,
)
from shoal.lab.client import Engine
from shoal.lab.spec import CAMERAS, DEFAULT_COMPUTE, STORE, LabSpec, check, machine_names, node_address
from shoal.lab.state import LabFacts
from shoal.locks import locked
from shoal.paths import cluster_document as cluster_path
from shoal.telling import Say, stage, to_stderr

Films = Callable[[], Sequence[Path]]
"""Gives what the cameras stream, in turn: H.264 without frames out of their order."""


@dataclass(frozen=True, slots=True)
class Options:
    """How `up` goes about it."""

    yes: bool = False
    """Install an engine without asking."""
    recreate: bool = False
    """Make nodes anew that exist with other settings."""
    scale_down: bool = False
    """Remove compute nodes above the number asked for."""
    rebuild: bool = False
    """Build the node image anew."""
    retain: bool = False
    """Keep what was made when a node does not boot."""


@dataclass(slots=True)
class _Made:
    """What this call made, to be taken back when it fails."""

    nodes: dict[str, Container] = field(default_factory=dict)
    network: bool = False
    folder: bool = False


@dataclass(frozen=True, slots=True)
class _Call:
    engine: Engine
    facts: LabFacts
    options: Options
    say: Say
    films: Films | None = None
    subnet_asked: bool = False
    """Whether the range is the user's choice, and no other will do."""
    made: _Made = field(default_factory=_Made)


def up(spec: LabSpec, options: Options | None = None, *, films: Films | None = None, say: Say = to_stderr) -> Cluster:
    """Bring the lab up and give its cluster document, which is also written to `shoal.paths.cluster_document(name)`.

    `films` are asked for where the lab has cameras.

    Raises UsageError for input that is refused before anything is changed, ShoalError for what fails on the way.
    """
    options = options or Options()
    check(spec)
    owners.refuse_lab(spec.name)
    with locked(state.lock_path(spec.name), what=f"lab {spec.name!r}", say=say):
        return _up(spec, options, films, say)


def _up(spec: LabSpec, options: Options, films: Films | None, say: Say) -> Cluster:
    begun = time.monotonic()
    before = state.load_facts(spec.name)
    engine = engines.find_or_bring(say, recorded_url=before.engine_url if before else None, yes=options.yes)
    ssh_files.require_programs()
    say(f"lab: using the {engine.description}")
    facts = _plan(engine, spec, before)
    wanted = machine_names(facts.compute, facts.cameras)
    nodes.refuse_foreign(engine, spec.name, wanted)
    there = nodes.find_all(engine, spec.name)
    if CAMERAS in set(wanted) - set(there) and films is None:
        raise UsageError("the lab is to have cameras, and nothing was given for them to stream")
    surplus = sorted(set(there) - set(wanted))
    # Cameras and store go when they are no longer asked for: what is on them is the lab's own.
    if (too_many := sorted(set(surplus) - {CAMERAS, STORE})) and not options.scale_down:
        raise UsageError(
            f"lab {spec.name!r} has more nodes than asked for: {', '.join(too_many)}; nothing was changed",
            hint=f"add --scale-down to remove them, or ask for --compute {facts.compute + len(too_many)}",
        )
    call = _Call(engine, facts, options, say, films, spec.subnet is not None, _Made(folder=before is None))
    state.save_facts(facts)
    try:
        facts, machines, containers = _bring_nodes(call, _image(call))
        _furnish(call, facts, containers)
    except ShoalError:
        if not options.retain:
            _take_back(call)
        raise
    for name in surplus:
        say(f"lab: removing {name}")
        nodes.remove(engine, spec.name, name, there[name])
    ssh_files.write(spec.name, machines)
    document = _document(engine, facts, machines[: facts.compute + 1])
    cluster_document.save(document, cluster_path(spec.name))
    say(f"lab: {spec.name!r} is up with {len(machines)} machines in {time.monotonic() - begun:.1f} s")
    return document


def _plan(engine: Engine, spec: LabSpec, before: LabFacts | None) -> LabFacts:
    network = networks.existing(engine, spec.name)
    if network is not None:
        subnet = networks.subnet_of(network)
        if spec.subnet and spec.subnet != subnet:
            raise UsageError(
                f"lab {spec.name!r} exists with the range {subnet}, not {spec.subnet}",
                hint=f"take it down first: shoal lab down --name {spec.name}",
            )
    else:
        wanted = spec.subnet or (before.subnet if before else None)
        subnet = networks.choose(wanted, networks.taken_ranges(engine, spec.name))
    compute = spec.compute or (before.compute if before else None) or DEFAULT_COMPUTE
    # The range may be an older one than this number of nodes.
    check(replace(spec, subnet=subnet, compute=compute))
    uplink = host.uplink()
    return LabFacts(
        name=spec.name,
        engine_url=engine.url,
        compute=compute,
        subnet=subnet,
        gateway=networks.gateway_of(subnet),
        bridge=names.bridge_name(spec.name),
        mtu=host.mtu(uplink),
        dns=tuple(host.nameservers()),
        metadata_blocked=before.metadata_blocked if before else False,
        memory_mib=spec.memory_mib or (before.memory_mib if before else None),
        cpus=spec.cpus or (before.cpus if before else None),
        image=spec.image or (before.image if before else None),
        inotify_before=before.inotify_before if before else None,
        boot_timeout_s=spec.boot_timeout_s,
        cameras=(before.cameras if before else 0) if spec.cameras is None else spec.cameras,
    )


def _image(call: _Call) -> str:
    engine, facts = call.engine, call.facts
    if facts.image is None:
        return node_image.ensure(engine, call.say, rebuild=call.options.rebuild)
    with client.plain_errors(f"looking for the image {facts.image}"):
        there = engine.client.images.list(name=facts.image)
    if not there:
        raise UsageError(
            f"the engine has no image {facts.image!r}", hint="load it first, or leave --image out to have one built"
        )
    return facts.image


def _bring_nodes(call: _Call, image: str) -> tuple[LabFacts, list[ssh_files.Machine], dict[str, Container]]:
    engine, facts, say = call.engine, call.facts, call.say
    lab = facts.name
    if networks.existing(engine, lab) is None:
        subnet = networks.create_free(engine, lab, facts.subnet, facts.mtu, fixed=call.subnet_asked)
        call.made.network = True
        facts = replace(facts, subnet=subnet)
        say(f"lab: network {facts.subnet} made")
    blocked = firewall.block_metadata(lab, facts.bridge, host.uplink())
    if not blocked:
        say("lab: nodes can reach this machine's metadata service, if it has one (no root or no iptables to block it)")
    wanted = machine_names(facts.compute, facts.cameras)
    before = inotify.raise_limit(len(wanted), facts.inotify_before, say)
    facts = replace(facts, metadata_blocked=blocked, inotify_before=before)
    state.save_facts(facts)
    public_key = ssh_files.ensure_key(lab)
    inherited = inherit.entries(base_image.release().codename)
    there = nodes.find_all(engine, lab)
    running: dict[str, Container] = {}
    with stage(say, "starting the nodes", f"{len(wanted)} nodes up"):
        deadline = time.monotonic() + facts.boot_timeout_s
        for name in wanted:
            limits = (None, None) if name in {CAMERAS, STORE} else (facts.memory_mib, facts.cpus)
            spec = nodes.NodeSpec(lab, name, image, node_address(facts.subnet, name), *limits)
            container = _reuse(call, spec, there.get(name))
            if container is None:
                container = nodes.create(engine, spec, public_key, inherited)
                call.made.nodes[name] = container
                nodes.start(container, name)
                say(f"lab: {name} created at {spec.address}")
            running[name] = container
        for name, container in running.items():
            booted = nodes.wait_until_booted(container, name, node_address(facts.subnet, name), deadline)
            if booted == "degraded":
                say(f"lab: {name} is up, but these units failed: {', '.join(nodes.failed_units(container))}")
    machines = [
        ssh_files.Machine(name, node_address(facts.subnet, name), nodes.host_key(container, name))
        for name, container in running.items()
    ]
    return facts, machines, running


def _furnish(call: _Call, facts: LabFacts, containers: dict[str, Container]) -> None:
    """Cameras and store, where the lab has them; as they are where no films are given."""
    if not facts.cameras or call.films is None:
        return
    films, tools = call.films(), lab_tools(call.say)
    if store.start(containers[STORE], facts, tools):
        call.say(f"lab: a store that speaks S3 at {store.of_cluster(facts).endpoint}")
    if cameras.start(containers[CAMERAS], facts, films, tools):
        call.say(f"lab: {len(cameras.ports(facts))} cameras stream at {node_address(facts.subnet, CAMERAS)}")


def _reuse(call: _Call, spec: nodes.NodeSpec, there: Container | None) -> Container | None:
    """The node's existing container, running again; None where it is to be made (anew)."""
    if there is None:
        return None
    differs = there.labels.get(names.SPEC_LABEL) != spec.hash
    # One that was never started may lack its files: an `up` was killed between the two.
    if there.status == "created" or (differs and call.options.recreate):
        nodes.remove(call.engine, spec.lab, spec.name, there)
        return None
    if differs:
        call.say(f"lab: {spec.name} has other settings or another image; kept as it is (--recreate makes it anew)")
    if there.status == "paused":
        with client.plain_errors(f"resuming node {spec.name}"):
            there.unpause()
    elif there.status != "running":
        call.say(f"lab: {spec.name} is {there.status}, starting it again")
        nodes.start(there, spec.name)
    return there


def _take_back(call: _Call) -> None:
    made, lab = call.made, call.facts.name
    if made.nodes or made.network:
        call.say("lab: removing what this call made (--retain keeps it)")
    for name, container in made.nodes.items():
        nodes.remove(call.engine, lab, name, container)
    if made.network and (network := networks.existing(call.engine, lab)):
        firewall.remove_rules(lab)
        with client.plain_errors("removing the lab's network"):
            network.remove()
    if made.folder:
        saved = state.load_facts(lab)
        inotify.restore_limit(saved.inotify_before if saved else None)
        mounts.remove_tree(state.folder(lab))


def _document(engine: Engine, facts: LabFacts, machines: list[ssh_files.Machine]) -> Cluster:
    return Cluster(
        name=facts.name,
        substrate="lab",
        events_store=store.of_cluster(facts) if facts.cameras else None,
        ssh=SshAccess(
            identity_file=ssh_files.key_path(facts.name),
            known_hosts_file=ssh_files.known_hosts_path(facts.name),
            config_file=ssh_files.config_path(facts.name),
        ),
        nodes=tuple(
            Node(
                name=machine.name,
                roles=("requester",) if machine.name == "requester" else ("compute",),
                address=machine.address,
                user=ssh_files.NODE_USER,
                arch=_arch(engine),
                labels={"site": "lab"},
                cameras=cameras.of_node(facts, machine.name),
            )
            for machine in machines
        ),
    )


def _arch(engine: Engine) -> Arch:
    return "arm64" if engine.client.version()["Arch"] in ("arm64", "aarch64") else "amd64"
