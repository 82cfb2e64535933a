"""Before machines are destroyed or unregistered: they are drained, and taken off the engine's list and the tailnet.

All of it is done as far as it can be: a machine that does not answer, as a spot machine that was taken away, stops
nothing and is reported, with what could not be done there and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from shoal.cluster import overlay
from shoal.cluster.document import Cluster, Node
from shoal.engines.bacalhau import connect, secrets
from shoal.errors import Fault, ShoalError, UsageError
from shoal.fleet import drain as draining
from shoal.fleet import engine_list as approval
from shoal.fleet.drain import StillAtWorkError
from shoal.mesh import membership as members
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.telling import Say

Step = Literal["drain", "engine", "tailnet"]
STEPS: dict[Step, str] = {
    "drain": "not drained",
    "engine": "not taken off the engine's list",
    "tailnet": "not logged out of the tailnet",
}
DRAIN_TIMEOUT_S = 600.0
"""How long running work is waited for unless asked otherwise."""
STOP_TIMEOUT_S = 90.0
"""The time that containers get to stop."""
LOGOUT_TIMEOUT_S = 20
_LOGOUT = f"timeout {LOGOUT_TIMEOUT_S} tailscale logout"


@dataclass(frozen=True, slots=True)
class Undone:
    """One step that could not be done for one machine."""

    step: Step
    node: str
    why: str

    def __str__(self) -> str:
        return f"{self.node} is {STEPS[self.step]}: {self.why}"


@dataclass(slots=True)
class Parting:
    """What became of the machines before they went: names by what was done."""

    drained: list[str] = field(default_factory=list)
    """Nothing ran there any more, and their engine service was stopped."""
    off_engine: list[str] = field(default_factory=list)
    """The orchestrator has forgotten them."""
    off_tailnet: list[str] = field(default_factory=list)
    """Logged out: an ephemeral one is off the tailnet's list, another is listed as expired."""
    undone: list[Undone] = field(default_factory=list)


def leave(cluster: Cluster, say: Say, *, timeout_s: float = DRAIN_TIMEOUT_S, force: bool = False) -> Parting:
    """Drain the machines and unregister them. `cluster` is the document with its first addresses.

    Running work is waited for; with `force` it is stopped (what is done of it is kept). Raises StillAtWorkError where
    it goes on when the time is over: then nothing but the drain was begun.
    """
    done = Parting()
    try:
        now, silent = reached(cluster)
    except UsageError as error:  # the key or the host keys are not here: no machine can be asked
        done.undone += [Undone("drain", node.name, error.message) for node in cluster.compute]
        if cluster.mesh == "tailscale":
            done.undone += [Undone("tailnet", node.name, error.message) for node in cluster.nodes]
        return _told(done, say)
    done.undone += [Undone("drain", node.name, silent[node.name]) for node in cluster.compute if node.name in silent]
    there = [node for node in now.compute if node.name not in silent]
    engine = _engine(now, done, silent)
    _drain(now, there, done, say, timeout_s=timeout_s, force=force, engine=engine)
    if engine:
        _off_the_engine(now, done)
    if cluster.mesh == "tailscale":
        _off_the_tailnet(cluster, now, silent, done, say)
    ssh.close(now)
    return _told(done, say)


def reached(cluster: Cluster) -> tuple[Cluster, dict[str, str]]:
    """The cluster with each node's address that answers, on the mesh or the first one; why not, of nodes at neither.

    Raises UsageError where a file for ssh that the document names is not there.
    """
    now = overlay.applied(cluster)
    why = members.probe(now, now.nodes)
    back = [cluster.node(node.name) for node in now.nodes if why[node.name] is not None and node.first_address]
    if back:
        why |= members.probe(cluster, back)
        first = {node.name: node for node in back}
        now = now.model_copy(update={"nodes": tuple(first.get(node.name, node) for node in now.nodes)})
    return now, {name: reason for name, reason in why.items() if reason is not None}


def _engine(now: Cluster, done: Parting, silent: Mapping[str, str]) -> bool:
    """Whether there is an orchestrator that answers; one that should and does not is noted."""
    if secrets.load(now.name) is None:
        return False
    why = silent.get(now.requester.name)
    if why is None:
        try:
            with connect.client_for(now) as client:
                client.nodes()
        except ShoalError as error:
            why = error.message
    if why is not None:
        text = f"the orchestrator does not answer: {why}"
        done.undone += [Undone("engine", node.name, text) for node in now.compute]
    return why is None


def _drain(
    now: Cluster, there: list[Node], done: Parting, say: Say, *, timeout_s: float, force: bool, engine: bool
) -> None:
    if not there:
        return
    if force:
        say("stopping what runs")
        if engine:
            try:
                draining.stop_jobs(now, [node.name for node in there])
            except ShoalError as error:
                say(f"  the engine's jobs could not be stopped: {error.message}")
        for name, why in draining.stop_containers(now, there).items():
            say(f"  {name}: {why}")
        timeout_s = STOP_TIMEOUT_S

    # Each by itself: one that goes away meanwhile is no reason to leave the others undrained.
    def one(node: Node) -> None:
        draining.drain_machines(now, [node], say, timeout_s=timeout_s, ask_engine=engine)
        # It may be registered again: then it is no drained node.
        draining.unmark(now, [node])

    answers = ssh.on_each(there, one)
    failed = {name: answer for name, answer in answers.items() if isinstance(answer, ShoalError)}
    busy = {name: error for name, error in failed.items() if isinstance(error, StillAtWorkError)}
    if busy and not force:
        raise StillAtWorkError(
            f"still at work after {timeout_s:.0f} s; nothing was destroyed",
            faults=tuple(fault for error in busy.values() for fault in error.faults),
            hint="type it again to go on waiting (nothing new is started there), or with --force to stop the work; "
            "`shoal nodes add NAME` takes a node back",
        )
    done.drained += [node.name for node in there if node.name not in failed]
    done.undone += [Undone("drain", name, _reason(error)) for name, error in failed.items()]


def _off_the_engine(now: Cluster, done: Parting) -> None:
    """Nodes that do not answer are forgotten, too: it is the orchestrator that is asked."""
    names = [node.name for node in now.compute]
    try:
        forgotten = approval.forget(now, names)
    except ShoalError as error:
        done.undone += [Undone("engine", name, error.message) for name in names]
        return
    done.off_engine += forgotten.names
    done.undone += [Undone("engine", name, why) for name, why in forgotten.left.items()]


def _off_the_tailnet(cluster: Cluster, now: Cluster, silent: Mapping[str, str], done: Parting, say: Say) -> None:
    """Log the machines out, over their first addresses alone: who leaves the tailnet over it is never reached again."""
    say("logging the machines out of the tailnet")
    lost = {name: silent[name] for name in silent}
    moved = [cluster.node(node.name) for node in now.nodes if node.first_address]
    lost |= {
        name: f"is reached over the tailnet only ({why}); remove it on the control server"
        for name, why in members.probe(cluster, moved).items()
        if why is not None
    }
    there = [node for node in cluster.nodes if node.name not in lost]
    found = members.membership(cluster.model_copy(update={"nodes": tuple(there)})) if there else {}
    joined = [node for node in there if not _stays_out(found[node.name])]
    answers = ssh.on_each(
        joined,
        lambda node: ssh.run(cluster, node, "sh", "-c", _LOGOUT, root=True, timeout_s=LOGOUT_TIMEOUT_S + 30),
    )
    lost |= {name: _reason(answer) for name, answer in answers.items() if isinstance(answer, ShoalError)}
    done.undone += [Undone("tailnet", node.name, lost[node.name]) for node in cluster.nodes if node.name in lost]
    done.off_tailnet += [name for name in answers if name not in lost]
    _forget_addresses(cluster.name, done.off_tailnet)
    ssh.close(cluster)


def _stays_out(member: members.Membership | ShoalError) -> bool:
    """Whether the machine is on no tailnet; one whose daemon does not tell is logged out all the same."""
    return isinstance(member, members.Membership) and member.address is None and member.state != "Running"


def _forget_addresses(cluster: str, names: Iterable[str]) -> None:
    """Those machines have no address on the mesh any more."""
    if (note := overlay.load(cluster)) is not None:
        left = {name: moved for name, moved in note.nodes.items() if name not in set(names)}
        overlay.save(note.model_copy(update={"nodes": left, "services": False}))


def _reason(error: ShoalError) -> str:
    parts = [brief(error), *(str(fault) for fault in error.faults if isinstance(fault, Fault))]
    return "; ".join(parts)


def _told(done: Parting, say: Say) -> Parting:
    for line in done.undone:
        say(f"  {line}")
    return done
