"""Onto the mesh and back: every node is reached the new way before the old way is left, and none is ever lost."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoal.cluster import overlay as overlays
from shoal.cluster.document import Cluster, Node
from shoal.cluster.overlay import SSH_PORT, Moved, Overlay
from shoal.cluster.reach import Reach
from shoal.deploys.run import run_deploy
from shoal.engines.choice import Choice
from shoal.errors import Fault, ShoalError, UsageError
from shoal.mesh.membership import LOOK_TIMEOUT_S, Membership, membership, probe
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.telling import Say, quiet

PING_TIMEOUT_S = 15
_KEY = re.compile(r"\b[th]skey-")


@dataclass(frozen=True, slots=True)
class Standing:
    """One node's outcome of a move, or its state now."""

    node: str
    first_address: str
    address: str
    """Where the control machine reaches it now."""
    mesh_address: str | None
    on_mesh: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """What a move came to."""

    nodes: tuple[Standing, ...]
    services: bool
    """Whether the nodes reach each other over the mesh; their services move with the next `shoal site deploy`."""
    services_note: str = ""
    services_plain: bool = False
    """Whether it was agreed that services stay off the mesh where they cannot go over it."""
    reach: Reach | None = None
    """How the cluster is reached from here on."""

    @property
    def whole(self) -> bool:
        """Whether every node, and what goes on between them, is on the mesh."""
        return self.services and all(node.on_mesh for node in self.nodes)


def on(
    reach: Reach,
    *,
    proxy_command: str | None = None,
    settings: Mapping[str, Any] | None = None,
    plain_services: bool | None = None,
    only: Sequence[str] = (),
    deploy: bool = True,
    engine: Choice | None = None,
    break_lock: bool = False,
    say: Say = quiet,
) -> Move:
    """Join the nodes (`only` these, or all), then reach over the mesh those that answer there with the host keys they
    always had.

    A node that does not answer keeps its first address. What the nodes say to each other never goes back to the plain
    network by itself: only `off` does that. `settings` are knobs of the mesh's roles, and `plain_services` agrees to
    services off the mesh; both are kept for later deploys. Raises UsageError where the document has no mesh, ShoalError
    where the deploy fails or the move would lose a node.
    """
    _refuse_without_mesh(reach)
    raw = reach.first
    before = reach.note or Overlay(cluster=raw.name)
    proxy = proxy_command or before.proxy_command
    knobs = {**before.settings, **checked_settings(settings or {})}
    plain = before.plain_services if plain_services is None else plain_services
    # What does not answer any more is reached at its first address from here on, the deploy included.
    reach = reach.noted(_proven(raw, before)[0].model_copy(update={"settings": knobs, "plain_services": plain}))
    if deploy:
        run_deploy(reach, "mesh", limit=only, engine=engine, break_lock=break_lock, say=say)
    now = reach.now
    members = membership(now)
    found = {name: each for name, each in members.items() if isinstance(each, Membership) and each.joined}
    candidate = Overlay(
        cluster=raw.name,
        proxy_command=proxy,
        settings=knobs,
        plain_services=plain,
        nodes={node.name: _moved(raw, node, found[node.name]) for node in raw.nodes if node.name in found},
    )
    candidate, refused = _proven(raw, candidate)
    services, services_note = _between(raw, candidate, found)
    # Once there they stay: a node that is away for a while must not open the others to the plain network.
    candidate = candidate.model_copy(update={"services": services or before.services})
    _refuse_loss(raw, now, candidate)
    reach = reach.noted(candidate)
    ssh.close(now)
    notes = {name: brief(each) for name, each in members.items() if isinstance(each, ShoalError)}
    notes |= {
        name: f"its daemon is in state {each.state}"
        for name, each in members.items()
        if isinstance(each, Membership) and not each.joined
    }
    return Move(_standings(raw, reach.now, found, notes | refused), services, services_note, plain, reach)


def say_left(nodes: Iterable[Standing], say: Say) -> None:
    """Name those that did not come onto the mesh, and why."""
    for node in nodes:
        if not node.on_mesh:
            say(f"mesh: {node.node} is not on the mesh and keeps its first address: {node.note}")


def on_before_site(
    reach: Reach,
    say: Say = quiet,
    *,
    proxy_command: str | None = None,
    settings: Mapping[str, Any] | None = None,
    engine: Choice | None = None,
    break_lock: bool = False,
) -> Reach:
    """What a deploy of a whole site begins with: its machines onto the mesh, unless `mesh off` was the last word.

    Gives how they are reached from then on. Nothing is done for a cluster without a mesh. Raises ShoalError where the
    site could only be deployed in the open: the nodes do not reach each other over the mesh, without consent.
    """
    if reach.first.mesh != "tailscale" or (reach.note and not reach.note.wanted):
        return reach
    move = on(reach, proxy_command=proxy_command, settings=settings, engine=engine, break_lock=break_lock, say=say)
    say_left(move.nodes, say)
    if move.services:
        return move.reach or reach
    if not move.services_plain:
        raise ShoalError(
            "the site was not deployed: what the nodes say to each other cannot go over the mesh",
            faults=(Fault("mesh", move.services_note),),
            hint="mend that and type the command again; `shoal mesh on --plain-services` agrees to have the registry "
            "and the engine on the first addresses, without the firewall",
        )
    say(f"mesh: services are off the mesh, and the firewall is not put up, as agreed: {move.services_note}")
    return move.reach or reach


def off(
    reach: Reach,
    *,
    force: bool = False,
    deploy: bool = True,
    only: Sequence[str] = (),
    wanted: bool = False,
    break_lock: bool = False,
    say: Say = quiet,
) -> Move:
    """Back to the first addresses, for nodes (`only` these, or all) that answer there (whether they do or not, with
    `force`); the firewall goes first. With `wanted` the next deploy of the site goes onto the mesh again.
    """
    _refuse_without_mesh(reach)
    raw, now = reach.first, reach.now
    before = reach.note or Overlay(cluster=raw.name)
    if deploy and before.nodes:
        run_deploy(reach, "mesh_off", limit=only, break_lock=break_lock, say=say)
    chosen = [node for node in raw.nodes if not only or node.name in only]
    forced = {node.name for node in chosen} if force else set()
    left = {name: entry for name, entry in before.nodes.items() if name not in forced}
    notes: dict[str, str] = {}
    for name, answer in probe(raw, chosen).items():
        if answer is None:
            left.pop(name, None)
        else:
            notes[name] = f"does not answer at its first address: {answer}"
    part = len(chosen) < len(raw.nodes)
    reach = reach.noted(
        before.model_copy(
            update={
                "wanted": before.wanted if part or wanted else False,
                "services": part and before.services,
                "nodes": left,
            }
        )
    )
    ssh.close(now)
    return Move(_standings(raw, reach.now, {}, notes), services=False, reach=reach)


def status(reach: Reach) -> Move:
    """How every node stands on the tailnet and where it is reached; nothing is changed."""
    _refuse_without_mesh(reach)
    raw, now, overlay = reach.first, reach.now, reach.note
    members = membership(now)
    notes = {name: brief(each) for name, each in members.items() if isinstance(each, ShoalError)}
    notes |= {
        name: f"state {each.state}{'' if each.online else ', control server away'}"
        for name, each in members.items()
        if isinstance(each, Membership)
    }
    found = {name: each for name, each in members.items() if isinstance(each, Membership)}
    return Move(_standings(raw, now, found, notes), services=bool(overlay and overlay.services), reach=reach)


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` as they are. Raises UsageError for what is no knob of the mesh's roles, or looks like a key."""
    faults = [
        Fault(name, "only settings of the roles tailscale and firewall are kept here")
        for name in settings
        if not name.startswith(("tailscale_", "firewall_"))
    ]
    faults += [
        Fault(name, "holds a key; give it by SHOAL_TAILSCALE_AUTHKEY, tailscale_authkey_file or _command")
        for name, value in settings.items()
        if _KEY.search(json.dumps(value))
    ]
    if faults:
        raise UsageError("the settings cannot be kept", faults=tuple(faults))
    return dict(settings)


def _refuse_without_mesh(reach: Reach) -> None:
    if reach.first.mesh != "tailscale":
        raise UsageError(
            f"{reach.path} has no mesh",
            faults=(Fault("mesh", f"is {reach.first.mesh!r}"),),
            hint='set it to "tailscale" first',
        )


def _moved(raw: Cluster, node: Node, member: Membership) -> Moved:
    address = str(member.address)
    known = member.name is not None and _resolves(member.name, address)
    return Moved(
        first_address=node.address,
        address=str(member.name) if known else address,
        port=node.port,
        peer_address=address,
        host_keys=_host_keys(raw, node),
    )


def _resolves(name: str, address: str) -> bool:
    """Whether this machine knows the name by itself: only where the tailnet's names are in its resolver."""
    try:
        return any(found[4][0] == address for found in socket.getaddrinfo(name, SSH_PORT, type=socket.SOCK_STREAM))
    except OSError:
        return False


def _host_keys(raw: Cluster, node: Node) -> tuple[str, ...]:
    """The keys that the machine is known by at its first address: the same machine has to answer over the mesh."""
    wanted = node.address if node.port == SSH_PORT else f"[{node.address}]:{node.port}"
    keys: list[str] = []
    for file in overlays.known_hosts_files(raw):
        done = subprocess.run(
            ["ssh-keygen", "-F", wanted, "-f", str(file)], capture_output=True, text=True, check=False
        )
        keys += [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line and line[0] not in "#@"]
    return tuple(dict.fromkeys(" ".join(key.split()[:2]) for key in keys))


def _proven(raw: Cluster, candidate: Overlay) -> tuple[Overlay, dict[str, str]]:
    """Only the nodes that answer over the mesh, and why the others are left out; a second port is tried for them."""
    refused = _refused(raw, candidate)
    if again := {name for name in refused if candidate.nodes[name].port != SSH_PORT}:
        # Behind a translated address the port outside is not the machine's own.
        moved = {
            name: entry.model_copy(update={"port": SSH_PORT}) if name in again else entry
            for name, entry in candidate.nodes.items()
        }
        candidate = candidate.model_copy(update={"nodes": moved})
        refused = _refused(raw, candidate)
    kept = {name: entry for name, entry in candidate.nodes.items() if name not in refused}
    return candidate.model_copy(update={"nodes": kept}), refused


def _refused(raw: Cluster, candidate: Overlay) -> dict[str, str]:
    trial = overlays.laid_over(raw, candidate)
    answers = probe(trial, [node for node in trial.nodes if node.name in candidate.nodes])
    return {name: f"does not answer over the mesh: {why}" for name, why in answers.items() if why is not None}


def _between(raw: Cluster, candidate: Overlay, found: dict[str, Membership]) -> tuple[bool, str]:
    """Whether all traffic between the nodes can go over the mesh, and why not."""
    if absent := [node.name for node in raw.nodes if node.name not in candidate.nodes]:
        return False, f"not on the mesh: {', '.join(absent)}"
    if without := [name for name, member in found.items() if not member.tun]:
        return False, f"without a network device of the mesh: {', '.join(without)}"
    trial = overlays.laid_over(raw, candidate)
    target = candidate.nodes[raw.requester.name].peer_address
    ping = f"tailscale ping --c 3 --until-direct=false --timeout {PING_TIMEOUT_S // 3}s {shlex.quote(target)}"

    def reach(node: Node) -> int:
        return ssh.run(
            trial, node, "sh", "-c", ping, root=True, timeout_s=PING_TIMEOUT_S + LOOK_TIMEOUT_S, check=False
        ).exit_code

    others = [node for node in trial.compute if node.name != raw.requester.name]
    deaf = [name for name, code in ssh.on_each(others, reach).items() if code != 0]
    return (False, f"cannot reach the requester over the mesh: {', '.join(deaf)}") if deaf else (True, "")


def _refuse_loss(raw: Cluster, now: Cluster, candidate: Overlay) -> None:
    """Raise ShoalError where a node that is reached now would not be any more."""
    after = overlays.laid_over(raw, candidate)
    lost = {name: why for name, why in probe(after, after.nodes).items() if why is not None}
    if not lost:
        return
    reached = {name for name, why in probe(now, now.nodes).items() if why is None}
    if gone := {name: why for name, why in lost.items() if name in reached}:
        raise ShoalError(
            "nothing was moved: these nodes would be lost",
            faults=tuple(Fault(name, why) for name, why in gone.items()),
            hint="mend the nodes that are not on the mesh, then try again",
        )


def _standings(raw: Cluster, now: Cluster, found: dict[str, Membership], notes: dict[str, str]) -> tuple[Standing, ...]:
    return tuple(
        Standing(
            node=first.name,
            first_address=first.address,
            address=node.address,
            mesh_address=found[first.name].address if first.name in found else None,
            on_mesh=node.first_address is not None,
            note=notes.get(first.name, ""),
        )
        for first, node in zip(raw.nodes, now.nodes, strict=True)
    )
