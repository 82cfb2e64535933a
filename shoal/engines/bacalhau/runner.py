"""The bacalhau runner: one job of the engine for all nodes of an attempt, followed by asking and by live logs.

The engine dispatches; it does not keep. `shoal.engines.bacalhau.executions` reads what it says about an execution.
Whether a node is done is decided by the manifest on the node, and `shoal.run.start` submits again what was lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import httpx

from shoal.cluster.document import Cluster, Node
from shoal.engines import killed
from shoal.engines.bacalhau import logs as engine_logs
from shoal.engines.bacalhau.client import BacalhauClient, EngineError, NameTakenError, NoSuchJobError
from shoal.engines.bacalhau.executions import absent, execution_of
from shoal.engines.bacalhau.models import EngineNode, Job, JobView, VersionInfo, by_name
from shoal.engines.protocol import Execution, Handle, Running, State
from shoal.errors import Fault, ShoalError, UsageError
from shoal.jobs.identity import RUN_LABEL
from shoal.jobs.identity import attempt as attempt_of
from shoal.jobs.spec import JobSpec, parse_bytes, parse_cpu
from shoal.results import fetch as results
from shoal.results.record import Bring, Fetched
from shoal.ssh import client as ssh
from shoal.ssh.failures import brief
from shoal.untrusted import DamagedDocumentError
from shoal.waiting import looks, until

T = TypeVar("T")

PATIENCE_S = 300.0
"""How long the orchestrator may be silent before the executions count as lost."""
POLL_S = 1.0
RETRY_S = 2.0
STOP_TIMEOUT_S = 90.0
CLOSE_S = 1.0
"""How long the end waits for the watching threads, and then for the connections; both die with the process."""
QUEUE_S = 24 * 3600
"""How long a job may wait for its turn on busy nodes, beyond its own time limit."""
OVERSUBSCRIPTION = 1.5
"""The engine's own (pkg/node/config.go at v1.9.3); no setting changes it."""
# The running file itself; where even root may not look at another user's process (a container without ptrace), the file
# of that name, if it is older than the process.
_PROGRAM = r"""
pid=$(systemctl show --property MainPID --value "$1") && [ "$pid" -gt 0 ] || exit 1
sha256sum "/proc/$pid/exe" 2>/dev/null && exit 0
file=$(systemctl show --property ExecStart --value "$1" | sed -n 's/^{ path=\([^ ;]*\) ;.*/\1/p')
started=$(date -d "$(systemctl show --property ExecMainStartTimestamp --value "$1")" +%s) || exit 1
[ -n "$file" ] && [ "$(stat -c %Z "$file")" -le "$started" ] && exec sha256sum "$file"
exit 1
"""


@dataclass(slots=True)
class _Followed:
    """One attempt that a thread watches; read and written under the runner's lock."""

    handle: Handle
    executions: dict[str, Execution]
    thread: threading.Thread | None = None


class BacalhauRunner:
    """Implements `shoal.engines.protocol.Runner` with the engine's HTTP API."""

    engine: Literal["bacalhau"] = "bacalhau"

    def __init__(self, cluster: Cluster, client: BacalhauClient, *, patience_s: float = PATIENCE_S) -> None:
        self._cluster, self._client, self._patience_s = cluster, client, patience_s
        self._lock = threading.Lock()
        self._followed: dict[Handle, _Followed] = {}
        self._ids: dict[str, str] = {}  # what the engine calls the nodes
        self._closed = threading.Event()

    def admit(self, job: JobSpec, nodes: Sequence[str]) -> None:
        """By what the nodes' services give out, which is less than what the machines have."""
        there = by_name(self._persistently(self._client.nodes))
        refuse_too_much(job, [there[name] for name in nodes if name in there and there[name].computes])

    def programs(self, nodes: Sequence[str]) -> list[Running]:
        """Versions as the orchestrator knows them; the hash is of the file that the running service is."""
        nodes_there = by_name(self._persistently(self._client.nodes))
        versions = {name: node.info.bacalhau_version for name, node in nodes_there.items()}
        requester = self._cluster.requester
        found = self._running(
            "orchestrator", [requester], {requester.name: versions.get(f"{requester.name}-orchestrator")}
        )
        found += self._running("compute", [self._cluster.node(name) for name in nodes], versions)
        return found

    def submit(self, job: JobSpec, *, run: str, attempt: int, nodes: Sequence[str]) -> Handle:
        """One job for those of `nodes` that the orchestrator hears now; why the others have none is theirs to show."""
        there = by_name(self._persistently(self._client.nodes))
        refused = {name: found for name in nodes if (found := _unfit(name, there.get(name)))}
        fit = [name for name in nodes if name not in refused]
        if not fit:
            return self._follow(Handle(run, attempt, job.name, tuple(nodes)), refused)
        document = job.again(name=job.name, nodes=fit, labels={}).to_document()
        timeouts = document["Tasks"][0]["Timeouts"]
        # The engine counts the total from the submission, waiting behind another run included.
        timeouts["ExecutionTimeout"] = job.timeout_s
        timeouts["TotalTimeout"] = job.timeout_s + QUEUE_S
        try:
            job_id = self._persistently(lambda: self._client.submit(document), refused_at_once=True).job_id
        except NameTakenError:
            job_id = self._id_of(job.name, run)  # the answer to our own submission was lost on the way
        return self._follow(Handle(run, attempt, job_id, tuple(nodes)), refused)

    def adopt(self, run: str, nodes: Sequence[str]) -> list[Handle]:
        """Live executions of `run` by label; of several on one node the newest attempt's counts.

        Those that have ended are not adopted, lost ones least of all: the node's manifest says whether it is done.
        """
        newest: dict[str, tuple[int, str]] = {}
        for job in self._persistently(lambda: self._client.jobs_labelled(RUN_LABEL, run)):
            attempt = attempt_of(job.labels)
            view = self._persistently(partial(self._client.job, job.id))
            for execution in map(execution_of, view.executions.items):
                if execution.node in nodes and attempt >= newest.get(execution.node, (0, ""))[0]:
                    newest[execution.node] = (attempt, "" if execution.over else job.id)
        handles: dict[tuple[int, str], list[str]] = {}
        for name, (attempt, job_id) in newest.items():
            if job_id:
                handles.setdefault((attempt, job_id), []).append(name)
        return [
            self._follow(Handle(run, attempt, job_id, tuple(names)), {})
            for (attempt, job_id), names in sorted(handles.items())
        ]

    def away(self, nodes: Sequence[str]) -> dict[str, str]:
        """Asked of the orchestrator, which may be away itself."""
        try:
            there = by_name(self._client.nodes())
        except (ShoalError, OSError) as error:
            return dict.fromkeys(nodes, brief(error))
        found = {name: _unfit(name, there.get(name)) for name in nodes}
        return {name: execution.message for name, execution in found.items() if execution}

    def full(self, job: JobSpec, nodes: Sequence[str]) -> dict[str, str]:
        """As the orchestrator sees it, who hears of a node's work with the next heartbeat; nodes that are away are not.

        A node without room is given nothing and the job does not wait for it: for the engine it has no part in it.
        """
        there = by_name(self._persistently(self._client.nodes))
        known = [node for name in nodes if (node := there.get(name)) and node.unfit() is None]
        return {node.name: why for node in known if (why := no_room(job, node))}

    def executions(self, handle: Handle) -> list[Execution]:
        """What the watching thread last saw."""
        with self._lock:
            return list(self._followed[handle].executions.values())

    def logs(self, handle: Handle, node: str) -> Iterator[str]:
        """Live lines of the container on `node`, once it has an execution."""
        # The watching thread sees an execution, or the job's end.
        found = until(lambda: _begun(self._execution(handle, node)), every_s=POLL_S, cancelled=self._closed)
        if found is None or not found.id:
            return
        yield from engine_logs.lines(
            self._client.endpoint,
            handle.job,
            found.id,
            over=lambda: self._execution(handle, node).over,
            never=lambda: self._execution(handle, node).state is State.REFUSED,
        )

    def examine(self, execution: Execution) -> Execution:
        """By the label that the engine gave the container, which it has removed."""
        with self._lock:
            node_id = self._ids.get(execution.node, execution.node)
        label = f"label=bacalhau-executionID=bacalhau-{node_id}{execution.id}"
        return killed.examined(self._cluster, execution, event_filter=label, list_filter=label)

    def stop(self, handle: Handle) -> list[str]:
        """Ask the engine to end the job, and wait until every execution has ended."""
        if not self._live(handle):
            return []
        try:
            self._persistently(lambda: self._client.stop(handle.job, "asked"))
        except EngineError:
            return self._live(handle)
        # The watching thread sees the ends.
        until(lambda: not self._live(handle), every_s=POLL_S, timeout_s=STOP_TIMEOUT_S)
        return self._live(handle)

    def release(self, handle: Handle, node: str) -> None:
        """Nothing to let go of: the engine removes a container that it saw end, and its job's record cannot go."""

    def fetch(self, run: str, node: str, destination: Path, bring: Bring = "all") -> Fetched:
        """From the run's folder on the node, over SSH."""
        return results.fetch_node(
            self._cluster, self._cluster.node(node), run, destination, bring=bring, patience_s=self._patience_s
        )

    def close(self) -> None:
        """Let go of the way to the orchestrator; what runs goes on. Does not wait for a node that does not answer."""
        self._closed.set()
        with self._lock:
            threads = [followed.thread for followed in self._followed.values()]
        deadline = time.monotonic() + CLOSE_S
        for thread in threads:
            if thread is not None:
                thread.join(max(deadline - time.monotonic(), 0))
        # Beside: a way that is just being opened to a requester which does not answer cannot be let go of at once.
        closing = threading.Thread(target=self._client.close, name="close", daemon=True)
        closing.start()
        closing.join(CLOSE_S)

    def _running(
        self, part: str, machines: Sequence[Node], versions: Mapping[str, VersionInfo | None]
    ) -> list[Running]:
        """What the service of that part runs on each machine that answers."""

        def look(node: Node) -> str:
            unit = f"bacalhau-{part}.service"
            said = ssh.run(self._cluster, node, "sh", "-c", _PROGRAM, "program", unit, root=True).text.split()
            if not said:
                raise DamagedDocumentError(f"node {node.name} does not tell the program's sha256")
            return said[0]

        found = []
        for name, answer in ssh.on_each(machines, look).items():
            version = versions.get(name) or VersionInfo()
            if not isinstance(answer, ShoalError):
                arch = version.arch or self._cluster.node(name).arch
                found.append(Running(name, version.git_version.removeprefix("v"), arch, answer))
        return found

    def _follow(self, handle: Handle, refused: dict[str, Execution]) -> Handle:
        start = {name: refused.get(name, Execution(name, "", State.STARTING)) for name in handle.nodes}
        followed = _Followed(handle, start)
        with self._lock:
            self._followed[handle] = followed
        if len(refused) < len(handle.nodes):
            followed.thread = threading.Thread(
                target=self._watch, args=(followed, frozenset(refused)), name=f"watch {handle.job}", daemon=True
            )
            followed.thread.start()
        return handle

    def _watch(self, followed: _Followed, refused: frozenset[str]) -> None:
        try:
            self._watch_to_the_end(followed, refused)
        except Exception as error:  # noqa: BLE001  # reported; whoever waits for the executions' ends has only this thread
            if not self._closed.is_set():
                self._give_up(followed, f"{brief(error)}; the container may go on unseen")

    def _watch_to_the_end(self, followed: _Followed, refused: frozenset[str]) -> None:
        for look in looks(POLL_S, timeout_s=self._patience_s, cancelled=self._closed):
            try:
                view = self._client.job(followed.handle.job)
            except NoSuchJobError as error:
                self._give_up(followed, f"{error.message}; its disk was lost, and the container may go on unseen")
                return
            except (ShoalError, OSError) as error:
                if _is_refusal(error) or look.last:
                    raise
            else:
                look.renew()
                if self._take_in(followed, view, refused):
                    return

    def _take_in(self, followed: _Followed, view: JobView, refused: frozenset[str]) -> bool:
        """Note what `view` shows; whether all is over."""
        seen = {execution.node: execution_of(execution) for execution in view.executions.items}
        with self._lock:
            self._ids |= {execution.node: execution.node_id for execution in view.executions.items}
            for name in followed.executions:
                if name not in refused:
                    followed.executions[name] = seen.get(name) or _unseen(followed.executions[name], view.job)
            return all(execution.over for execution in followed.executions.values())

    def _give_up(self, followed: _Followed, why: str) -> None:
        with self._lock:
            for name, execution in followed.executions.items():
                if not execution.over:
                    followed.executions[name] = replace(execution, state=State.LOST, message=why)

    def _execution(self, handle: Handle, node: str) -> Execution:
        with self._lock:
            return self._followed[handle].executions[node]

    def _live(self, handle: Handle) -> list[str]:
        return [execution.node for execution in self.executions(handle) if not execution.over]

    def _id_of(self, name: str, run: str) -> str:
        for job in self._persistently(lambda: self._client.jobs_labelled(RUN_LABEL, run)):
            if job.name == name:
                return job.id
        raise EngineError(f"the orchestrator says it has a job {name!r}, and does not list it")

    def _persistently(self, ask: Callable[[], T], *, refused_at_once: bool = False) -> T:
        """What `ask` gives; asked again while the orchestrator is silent or at fault, until the patience is at its end.

        `refused_at_once`: a fault of the orchestrator's own (HTTP 500) may be about what it was given, and is raised.
        """
        for look in looks(RETRY_S, timeout_s=self._patience_s):
            try:
                return ask()
            except EngineError as error:
                at_fault = error.status == httpx.codes.INTERNAL_SERVER_ERROR
                if not error.transient or (at_fault and refused_at_once) or look.last:
                    raise
        raise AssertionError("the last look returns or raises")


def _is_refusal(error: ShoalError | OSError) -> bool:
    """Whether the orchestrator said no, which it would say again; all else may pass: silence, faults, our own disk."""
    return isinstance(error, EngineError) and httpx.codes.is_client_error(error.status) and not error.transient


def _unseen(before: Execution, job: Job) -> Execution:
    """What is to be made of a node that the engine shows no execution of, `before` being the last that was known."""
    if not before.id or before.over:
        return absent(before.node, job)
    if not job.state.state_type.over:
        return before
    # Seen after a restart of the orchestrator.
    why = "the engine does not know of its execution any more; the container may go on unseen"
    return replace(before, state=State.LOST, message=why)


def _begun(execution: Execution) -> Execution | None:
    """`execution` once it has a container or will have none."""
    return execution if execution.id or execution.over else None


def _unfit(name: str, node: EngineNode | None) -> Execution | None:
    if node is None:
        return Execution(
            name, "", State.REFUSED, message="the orchestrator does not know the node; run the site deploy"
        )
    if why := node.unfit():
        return Execution(name, "", State.LOST if not node.connected else State.REFUSED, message=why)
    return None


def no_room(job: JobSpec, node: EngineNode) -> str | None:
    """Why the engine would take the node for busy, reckoned as it does (pkg/orchestrator/selection/ranking/
    over_subscription.go at v1.9.3): what runs and waits there, and the job, may be OVERSUBSCRIPTION times what it has.
    """
    info = node.info.compute_node_info
    asked = job.task.resources
    for most, free, waiting, wanted, unit, what in (
        (info.max_capacity.cpu, info.available_capacity.cpu, info.queue_capacity.cpu, parse_cpu(asked.cpu), 1, "CPUs"),
        (
            info.max_capacity.memory_bytes, info.available_capacity.memory_bytes, info.queue_capacity.memory_bytes,
            parse_bytes(asked.memory), 1e9, "GB of memory",
        ),
    ):  # fmt: skip
        taken = most - free + waiting
        if taken + wanted > most * OVERSUBSCRIPTION * (1 + 1e-9):
            return f"other work has {taken / unit:.3g} of its {most / unit:.3g} {what}"
    return None


def refuse_too_much(job: JobSpec, nodes: Sequence[EngineNode]) -> None:
    """Raise UsageError with every node whose service gives out less than `job` asks for, and the figures."""
    cpus, memory_bytes = parse_cpu(job.task.resources.cpu), parse_bytes(job.task.resources.memory)
    faults = []
    for node in nodes:
        limit = node.info.compute_node_info.max_job_requirements
        if cpus > limit.cpu:
            faults.append(
                Fault(node.name, f"the job asks for {cpus:g} CPUs, the node's service gives out {limit.cpu:g}")
            )
        if memory_bytes > limit.memory_bytes:
            wanted, most = memory_bytes / 1e6, limit.memory_bytes / 1e6
            faults.append(
                Fault(
                    node.name, f"the job asks for {wanted:.0f} MB of memory, the node's service gives out {most:.0f} MB"
                )
            )
    if faults:
        raise UsageError(
            "the job asks for more than these nodes have",
            faults=tuple(faults),
            hint="ask for less (--cpu, --memory), or raise the role's knob bacalhau_capacity_cpu",
        )
