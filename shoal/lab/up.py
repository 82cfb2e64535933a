"""`up`: make or complete a lab; every step looks at what is there first, so it can be interrupted and typed again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from docker.models.containers import Container

from shoal.cluster import document as cluster_document
from shoal.cluster import owners
from shoal.cluster.document import Arch, Cluster, Node, SshAccess
from shoal.errors import ShoalError, UsageError
from shoal.lab import (
    base_image,
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
from shoal.lab.spec import DEFAULT_COMPUTE, LabSpec, check, node_address, node_names
from shoal.lab.state import LabFacts
from shoal.locks import locked
from shoal.paths import cluster_document as cluster_path
from shoal.telling import Say, stage, to_stderr


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
    subnet_asked: bool = False
    """Whether the range is the user's choice, and no other will do."""
    made: _Made = field(default_factory=_Made)


def up(spec: LabSpec, options: Options | None = None, *, say: Say = to_stderr) -> Cluster:
    """Bring the lab up and give its cluster document, which is also written to `shoal.paths.cluster_document(name)`.

    Raises UsageError for input that is refused before anything is changed, ShoalError for what fails on the way.
    """
    options = options or Options()
    check(spec)
    owners.refuse_lab(spec.name)
    with locked(state.lock_path(spec.name), what=f"lab {spec.name!r}", say=say):
        return _up(spec, options, say)


def _up(spec: LabSpec, options: Options, say: Say) -> Cluster:
    begun = time.monotonic()
    before = state.load_facts(spec.name)
    engine = engines.find_or_bring(say, recorded_url=before.engine_url if before else None, yes=options.yes)
    ssh_files.require_programs()
    say(f"lab: using the {engine.description}")
    facts = _plan(engine, spec, before)
    wanted = node_names(facts.compute)
    nodes.refuse_foreign(engine, spec.name, wanted)
    there = nodes.find_all(engine, spec.name)
    surplus = sorted(set(there) - set(wanted))
    if surplus and not options.scale_down:
        raise UsageError(
            f"lab {spec.name!r} has more nodes than asked for: {', '.join(surplus)}; nothing was changed",
            hint=f"add --scale-down to remove them, or ask for --compute {len(there) - 1}",
        )
    call = _Call(engine, facts, options, say, spec.subnet is not None, _Made(folder=before is None))
    state.save_facts(facts)
    try:
        facts, machines = _bring_nodes(call, _image(call))
    except ShoalError:
        if not options.retain:
            _take_back(call)
        raise
    for name in surplus:
        say(f"lab: removing {name}")
        nodes.remove(engine, spec.name, name, there[name])
    ssh_files.write(spec.name, machines)
    document = _document(engine, facts, machines)
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


def _bring_nodes(call: _Call, image: str) -> tuple[LabFacts, list[ssh_files.Machine]]:
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
    before = inotify.raise_limit(facts.compute + 1, facts.inotify_before, say)
    facts = replace(facts, metadata_blocked=blocked, inotify_before=before)
    state.save_facts(facts)
    public_key = ssh_files.ensure_key(lab)
    inherited = inherit.entries(base_image.release().codename)
    there = nodes.find_all(engine, lab)
    running: dict[str, Container] = {}
    with stage(say, "starting the nodes", f"{facts.compute + 1} nodes up"):
        deadline = time.monotonic() + facts.boot_timeout_s
        for name in node_names(facts.compute):
            spec = nodes.NodeSpec(lab, name, image, node_address(facts.subnet, name), facts.memory_mib, facts.cpus)
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
    return facts, [
        ssh_files.Machine(name, node_address(facts.subnet, name), nodes.host_key(container, name))
        for name, container in running.items()
    ]


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
            )
            for machine in machines
        ),
    )


def _arch(engine: Engine) -> Arch:
    return "arm64" if engine.client.version()["Arch"] in ("arm64", "aarch64") else "amd64"
