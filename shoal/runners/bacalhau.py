"""The bacalhau runner: one job of the engine for all nodes of an attempt, followed by asking and by live logs.

The engine dispatches; it does not keep. What it says about an execution is read by `shoal.bacalhau.outcomes`; whether
a node is done is decided by the manifest on the node, and what the engine loses is submitted again (`shoal.running`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from shoal import results
from shoal.bacalhau import logs as engine_logs
from shoal.bacalhau.client import BacalhauClient, EngineError, EngineSilentError, NameTakenError, NoSuchJobError
from shoal.bacalhau.models import EngineNode, JobView
from shoal.bacalhau.outcomes import absent, execution_of
from shoal.cluster import Cluster
from shoal.errors import Fault, UsageError
from shoal.jobs.spec import JobSpec, parse_bytes, parse_cpu
from shoal.runners import killed
from shoal.runners.protocol import Execution, Handle, State
from shoal.runs import Fetched

T = TypeVar("T")

PATIENCE_S = 300.0
"""How long the orchestrator may be silent before the executions count as lost."""
POLL_S = 1.0
RETRY_S = 2.0
STOP_TIMEOUT_S = 90.0
QUEUE_S = 24 * 3600
"""How long a job may wait for its turn on busy nodes, beyond its own time limit."""
RUN_LABEL = "shoal-run"
ATTEMPT_LABEL = "shoal-attempt"


@dataclass(slots=True)
class _Followed:
    """One attempt that a thread watches; read and written under the runner's lock."""

    handle: Handle
    executions: dict[str, Execution]
    thread: threading.Thread | None = None


class BacalhauRunner:
    """Implements `shoal.runners.protocol.Runner` with the engine's HTTP API."""

    engine: Literal["bacalhau"] = "bacalhau"

    def __init__(self, cluster: Cluster, client: BacalhauClient, *, patience_s: float = PATIENCE_S) -> None:
        self._cluster, self._client, self._patience_s = cluster, client, patience_s
        self._lock = threading.Lock()
        self._followed: dict[Handle, _Followed] = {}
        self._closed = threading.Event()

    def admit(self, job: JobSpec, nodes: Sequence[str]) -> None:
        """By what the nodes' services give out, which is less than what the machines have."""
        there = self._persistently(self._client.nodes)
        refuse_too_much(job, [node for node in there if node.name in nodes and node.computes])

    def submit(self, job: JobSpec, *, run: str, attempt: int, nodes: Sequence[str]) -> Handle:
        """One job for those of `nodes` that the orchestrator hears now; why the others have none is theirs to show."""
        there = {node.name: node for node in self._persistently(self._client.nodes)}
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
            job_id = self._persistently(lambda: self._client.submit(document)).job_id
        except NameTakenError:
            job_id = self._id_of(job.name, run)  # the answer to our own submission was lost on the way
        return self._follow(Handle(run, attempt, job_id, tuple(nodes)), refused)

    def adopt(self, run: str, nodes: Sequence[str]) -> list[Handle]:
        """Live executions of `run` by label; of several on one node the newest attempt's counts.

        Those that have ended are not adopted, lost ones least of all: the node's manifest says whether it is done.
        """
        newest: dict[str, tuple[int, str]] = {}
        for job in self._persistently(lambda: self._client.jobs_labelled(RUN_LABEL, run)):
            attempt = int(job.labels.get(ATTEMPT_LABEL, "0"))
            for execution in map(execution_of, self._client.job(job.id).executions.items):
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
            there = {node.name: node for node in self._client.nodes()}
        except EngineError as error:
            return dict.fromkeys(nodes, error.message)
        found = {name: _unfit(name, there.get(name)) for name in nodes}
        return {name: execution.message for name, execution in found.items() if execution}

    def executions(self, handle: Handle) -> list[Execution]:
        """What the watching thread last saw."""
        with self._lock:
            return list(self._followed[handle].executions.values())

    def logs(self, handle: Handle, node: str) -> Iterator[str]:
        """Live lines of the container on `node`, once it has an execution."""
        while not (found := self._execution(handle, node)).id:
            if found.over:
                return
            time.sleep(POLL_S)  # ended by the watching thread, which sees an execution or the job's end
        yield from engine_logs.lines(
            self._client.endpoint, handle.job, found.id, over=lambda: self._execution(handle, node).over
        )

    def examine(self, execution: Execution) -> Execution:
        """By the label that the engine gave the container, which it has removed."""
        label = f"label=bacalhau-executionID=bacalhau-{execution.node}{execution.id}"
        return killed.examined(self._cluster, execution, event_filter=label, list_filter=label)

    def stop(self, handle: Handle) -> list[str]:
        """Ask the engine to end the job, and wait until every execution has ended."""
        if not self._live(handle):
            return []
        try:
            self._persistently(lambda: self._client.stop(handle.job, "asked"))
        except EngineError:
            return self._live(handle)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while (live := self._live(handle)) and time.monotonic() < deadline:
            time.sleep(POLL_S)  # the watching thread sees the ends
        return live

    def release(self, handle: Handle, node: str) -> None:
        """Nothing to let go of: the engine removes a container that it saw end, and its job's record cannot go."""

    def fetch(self, run: str, node: str, destination: Path) -> Fetched:
        """From the run's folder on the node, over SSH."""
        return results.fetch_node(
            self._cluster, self._cluster.node(node), run, destination, patience_s=self._patience_s
        )

    def close(self) -> None:
        """Let go of the way to the orchestrator; what runs goes on."""
        self._closed.set()
        with self._lock:
            threads = [followed.thread for followed in self._followed.values()]
        for thread in threads:
            if thread is not None:
                thread.join()
        self._client.close()

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
        heard = time.monotonic()
        while not self._closed.is_set():
            try:
                view = self._client.job(followed.handle.job)
                heard = time.monotonic()
            except NoSuchJobError as error:
                self._give_up(followed, f"{error.message}; its disk was lost, and the container may go on unseen")
                return
            except EngineError as error:
                lasting = not isinstance(error, EngineSilentError)
                if lasting or time.monotonic() - heard > self._patience_s:
                    self._give_up(followed, f"{error.message}; the container may go on unseen")
                    return
            else:
                if self._take_in(followed, view, refused):
                    return
            # The pause between two questions; the executions' end, the patience or `close` ends them.
            self._closed.wait(POLL_S)

    def _take_in(self, followed: _Followed, view: JobView, refused: frozenset[str]) -> bool:
        """Note what `view` shows; whether all is over."""
        seen = {execution.node_id: execution_of(execution) for execution in view.executions.items}
        with self._lock:
            for name in followed.executions:
                if name not in refused:
                    followed.executions[name] = seen.get(name) or absent(name, view.job)
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

    def _persistently(self, ask: Callable[[], T]) -> T:
        """What `ask` gives; asked again while the orchestrator is silent, until the patience is at its end."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return ask()
            except EngineSilentError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_S)  # the pause between two tries, which the deadline ends


def _unfit(name: str, node: EngineNode | None) -> Execution | None:
    if node is None:
        return Execution(
            name, "", State.REFUSED, message="the orchestrator does not know the node; run the site deploy"
        )
    if why := node.unfit():
        return Execution(name, "", State.LOST if not node.connected else State.REFUSED, message=why)
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
