"""The ssh runner: the job's container on each node, started over SSH, detached, and followed until it ends.

The container belongs to the node's Docker, not to the connection. A connection that breaks is taken up again; a control
process that dies leaves the containers running, and the next one adopts them by their label.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from shoal.cluster.document import Cluster
from shoal.engines import killed
from shoal.engines.container import (
    ATTEMPT_LABEL,
    RUN_LABEL,
    TIMEOUT_LABEL,
    Inspected,
    docker_run,
    folders,
    read_inspect,
    state_of,
)
from shoal.engines.container_errors import explained
from shoal.engines.protocol import Execution, Handle, Running, State
from shoal.errors import ShoalError
from shoal.jobs import job_name
from shoal.jobs.mounts import refuse_others
from shoal.jobs.spec import JobSpec
from shoal.results import fetch as results
from shoal.results.record import Bring, Fetched
from shoal.ssh import client as ssh
from shoal.ssh import failures as ssh_failures
from shoal.ssh.failures import brief
from shoal.untrusted import DamagedDocumentError, figure, whole
from shoal.waiting import looks

PATIENCE_S = 120.0
"""How long a node may be silent before its execution counts as lost."""
RETRY_S = 2.0
WATCH_S = 20
"""Length of one question to a node; it answers earlier when the container ends."""
STOP_GRACE_S = 10
"""Between the request to end and the kill."""
TAIL_LINES = 5

# Exit code 45: no such container. Everything else that fails is the engine's or the connection's.
_WATCH = """
timeout "$2" docker wait "$1" >/dev/null 2>&1
out=$(docker inspect --type container --format '{{json .State}}' "$1" 2>&1) && { printf '%s\\n' "$out"; exit 0; }
case $out in *"No such container"*) exit 45 ;; esac
printf '%s\\n' "$out" >&2
exit 1
"""
_START = """
set -eu
while [ "$1" != -- ]; do mkdir -p -m 0700 -- "$1"; shift; done
shift
exec "$@"
"""
# After a broken connection: the container may be there, made or running. It is never started twice.
_START_OR_FIND = (
    """
status=$(docker inspect --type container --format '{{.State.Status}}' "$1" 2>/dev/null) || status=
case $status in created) exec docker start "$1" ;; ?*) exit 0 ;; esac
shift
"""
    + _START
)
_GONE = 45


@dataclass(slots=True)
class _Followed:
    """One container that a thread of its own watches; read and written under the runner's lock."""

    execution: Execution
    timeout_s: float
    deadline: float
    stop_asked: bool = False
    limit_passed: bool = False
    """Written and read by the watching thread alone."""


def _listed(line: str) -> tuple[int, float, float]:
    """One container as `_list` asks for it. Raises DamagedDocumentError."""
    words = line.split()
    if len(words) != 3:
        raise DamagedDocumentError(f"the node's word on its containers is {line[:80]!r}")
    attempt, limit, age = words
    source = "the node's word on a container's"
    # A clock that was set back makes a container younger than nothing.
    age_s = 0.0 if age.startswith("-") else figure(age, source=f"{source} age")
    return whole(attempt, source=f"{source} attempt"), figure(limit, source=f"{source} time limit"), age_s


class SshRunner:
    """Implements `shoal.engines.protocol.Runner` with ssh and the docker client on the nodes."""

    engine: Literal["ssh"] = "ssh"

    def __init__(self, cluster: Cluster, *, patience_s: float = PATIENCE_S) -> None:
        self._cluster = cluster
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._followed: dict[tuple[int, str], _Followed] = {}

    def admit(self, job: JobSpec, nodes: Sequence[str]) -> None:
        """Only what the job mounts is held to: the machines' own size was checked with the machines."""
        refuse_others(job, whole_videos=any(self._cluster.node(name).privacy for name in nodes))

    def programs(self, nodes: Sequence[str]) -> list[Running]:
        """None: there is only the nodes' own Docker."""
        del nodes
        return []

    def submit(self, job: JobSpec, *, run: str, attempt: int, nodes: Sequence[str]) -> Handle:
        """Start the container on every one of `nodes` that the job matches, all at once."""
        chosen = [self._cluster.node(name) for name in nodes]
        wanted = [node for node in chosen if job.matches(node)]
        argv = docker_run(job, run=run, attempt=attempt)
        started = ssh.on_each(wanted, lambda node: self._start(node.name, job, argv))
        for node in chosen:
            execution = Execution(node.name, job.name, State.REFUSED, message="the job's constraints leave it out")
            outcome = started.get(node.name)
            if isinstance(outcome, ShoalError):
                lost = isinstance(outcome, ssh.SshError)
                message = brief(outcome).removeprefix("docker: ").removeprefix("Error response from daemon: ")
                message = message if lost else explained(message)
                execution = replace(execution, state=State.LOST if lost else State.REFUSED, message=message)
            elif node in wanted:
                execution = Execution(node.name, job.name, State.RUNNING)
            self._follow(attempt, execution, job.timeout_s, age_s=0.0)
        return Handle(run, attempt, job.name, tuple(nodes))

    def adopt(self, run: str, nodes: Sequence[str]) -> list[Handle]:
        """Containers of `run` by label. Of several on one node the newest counts; older ended ones are removed."""
        found = ssh.on_each([self._cluster.node(name) for name in nodes], lambda node: self._list(node.name, run))
        attempts: dict[int, list[str]] = {}
        for name, containers in found.items():
            if isinstance(containers, ShoalError) or not containers:
                continue
            attempt, timeout_s, age_s = max(containers)
            attempts.setdefault(attempt, []).append(name)
            for older in containers:
                if older[0] != attempt:
                    self._remove(name, job_name(run, older[0]))
            self._follow(attempt, Execution(name, job_name(run, attempt), State.RUNNING), timeout_s, age_s=age_s)
        return [
            Handle(run, attempt, job_name(run, attempt), tuple(names)) for attempt, names in sorted(attempts.items())
        ]

    def away(self, nodes: Sequence[str]) -> dict[str, str]:
        """Nodes that do not answer over SSH."""
        asked = ssh.on_each(
            [self._cluster.node(name) for name in nodes], lambda node: ssh.run(self._cluster, node, "true")
        )
        return {name: ssh_failures.brief(answer) for name, answer in asked.items() if isinstance(answer, ShoalError)}

    def full(self, job: JobSpec, nodes: Sequence[str]) -> dict[str, str]:
        """None: containers are started beside each other."""
        del job, nodes
        return {}

    def executions(self, handle: Handle) -> list[Execution]:
        """What the watching threads last saw."""
        with self._lock:
            return [
                followed.execution
                for name in handle.nodes
                if (followed := self._followed.get((handle.attempt, name))) is not None
            ]

    def logs(self, handle: Handle, node: str) -> Iterator[str]:
        """The container's lines; after a broken connection it goes on behind the last line that came."""
        # The detector's own words and a traceback come by different ways; a reader wants both.
        merged = ("sh", "-c", 'exec "$@" 2>&1', "logs", "docker", "logs", "--follow", "--timestamps")
        last = ""
        for _ in looks(RETRY_S):
            known = last
            since = ("--since", known) if known else ()
            try:
                for line in ssh.stream(self._cluster, self._cluster.node(node), *merged, *since, handle.job, root=True):
                    last, _, text = line.partition(" ")
                    if last > known:
                        yield text
            except ssh.RemoteError:
                return  # the container is gone
            except ssh.SshError as error:
                if not error.transient or self._execution(handle, node).over:
                    return  # else the watching thread gives a lost node up
            else:
                return

    def examine(self, execution: Execution) -> Execution:
        """By the container's name; it is there until it is released."""
        return killed.examined(
            self._cluster, execution, event_filter=f"container={execution.id}", list_filter=f"name=^/?{execution.id}$"
        )

    def stop(self, handle: Handle) -> list[str]:
        """`docker stop` on every node whose container still runs."""
        with self._lock:
            live = [name for name in handle.nodes if self._is_live(handle.attempt, name)]
            for name in live:
                self._followed[handle.attempt, name].stop_asked = True
        answers = ssh.on_each(
            [self._cluster.node(name) for name in live], lambda node: self._stop(node.name, handle.job)
        )
        return [name for name, answer in answers.items() if isinstance(answer, ShoalError)]

    def release(self, handle: Handle, node: str) -> None:
        """Remove the ended container. One that cannot be reached now stays, and is removed by the next adoption."""
        if self._execution(handle, node).state is not State.LOST:
            self._remove(node, handle.job)

    def fetch(self, run: str, node: str, destination: Path, bring: Bring = "all") -> Fetched:
        """From the run's folder on the node, over SSH."""
        return results.fetch_node(
            self._cluster, self._cluster.node(node), run, destination, bring=bring, patience_s=self._patience_s
        )

    def close(self) -> None:
        """Nothing is held but OpenSSH's shared connections, which close by themselves."""

    def _execution(self, handle: Handle, node: str) -> Execution:
        with self._lock:
            return self._followed[handle.attempt, node].execution

    def _is_live(self, attempt: int, name: str) -> bool:
        followed = self._followed.get((attempt, name))
        return followed is not None and not followed.execution.over

    def _start(self, name: str, job: JobSpec, argv: list[str]) -> None:
        """Start the container, once: where the connection broke on the way, look whether it is there already."""
        node = self._cluster.node(name)
        command = ("sh", "-c", _START, "start", *folders(job), "--", *argv)
        for look in looks(RETRY_S, timeout_s=self._patience_s):
            try:
                ssh.run(self._cluster, node, *command, root=True)
            except ssh.RemoteError:
                self._remove(name, job.name)  # made, but not started: the image has no such program
                raise
            except ssh.SshError as error:
                if not error.transient or look.last:
                    raise
                command = ("sh", "-c", _START_OR_FIND, "start", job.name, *folders(job), "--", *argv)
            else:
                return

    def _list(self, name: str, run: str) -> list[tuple[int, float, float]]:
        """The run's containers on a node: attempt, time limit and age in seconds."""
        label = f"label={RUN_LABEL}={run}"
        form = " ".join(f'{{{{index .Config.Labels "{key}"}}}}' for key in (ATTEMPT_LABEL, TIMEOUT_LABEL))
        form += " {{.State.StartedAt}}"
        script = (
            'ids=$(docker ps --all --quiet --filter "$1") || exit 1; [ -n "$ids" ] || exit 0; '
            'docker inspect --type container --format "$2" $ids | while read -r attempt limit begun; do '
            'echo "$attempt $limit $(($(date +%s) - $(date -d "$begun" +%s)))"; done'
        )
        node = self._cluster.node(name)
        text = ssh.run(self._cluster, node, "sh", "-c", script, "list", label, form, root=True).text
        return [_listed(line) for line in text.splitlines()]

    def _follow(self, attempt: int, execution: Execution, timeout_s: float, *, age_s: float) -> None:
        followed = _Followed(execution, timeout_s, time.monotonic() + timeout_s - age_s)
        with self._lock:
            self._followed[attempt, execution.node] = followed
        if not execution.over:
            threading.Thread(target=self._watch, args=(followed,), name=f"watch {execution.node}", daemon=True).start()

    def _watch(self, followed: _Followed) -> None:
        try:
            self._watch_to_the_end(followed)
        except Exception as error:  # noqa: BLE001  # reported; whoever waits for the execution's end has only this thread
            self._settle(followed, State.LOST, None, f"{brief(error)}; the container may go on")

    def _watch_to_the_end(self, followed: _Followed) -> None:
        node, container = followed.execution.node, followed.execution.id
        while (seen := self._inspect_in_time(followed)) and not seen.over:
            pass  # the question itself waits on the node
        if seen is None:
            self._settle(followed, State.ENDED, None, "somebody removed the container")
            return
        with self._lock:
            stop_asked = followed.stop_asked
        state, message = state_of(
            seen, limit_passed=followed.limit_passed, stop_asked=stop_asked, timeout_s=int(followed.timeout_s)
        )
        if state is State.ENDED and seen.exit_code != 0 and not message:
            message = self._last_words(node, container)
        self._settle(followed, state, seen.exit_code, message)

    def _inspect_in_time(self, followed: _Followed) -> Inspected | None:
        """The container after one question; a node that is silent is asked again until the patience is at its end.

        A container that is over its time limit is stopped.
        """
        node, container = followed.execution.node, followed.execution.id
        for look in looks(RETRY_S, timeout_s=self._patience_s):
            try:
                left_s = followed.deadline - time.monotonic()
                seen = self._inspect(node, container, wait_s=min(WATCH_S, max(left_s, 0.1)))
                if seen and not seen.over and time.monotonic() >= followed.deadline:
                    followed.limit_passed = True
                    self._stop(node, container)
            except (ShoalError, OSError) as error:
                # What is not the node's may pass as well: a key that is being replaced, a full disk here.
                lasting = isinstance(error, ssh.SshError) and not error.transient
                if lasting or look.last:
                    raise
            else:
                return seen
        raise AssertionError("the last look returns or raises")

    def _settle(self, followed: _Followed, state: State, exit_code: int | None, message: str) -> None:
        with self._lock:
            followed.execution = replace(followed.execution, state=state, exit_code=exit_code, message=message)

    def _inspect(self, name: str, container: str, *, wait_s: float) -> Inspected | None:
        """The container after at most `wait_s` seconds, or as soon as it ended; None where there is none."""
        node = self._cluster.node(name)
        words = ("sh", "-c", _WATCH, "watch", container, f"{wait_s:.1f}")
        done = ssh.run(self._cluster, node, *words, root=True, timeout_s=wait_s + 60, check=False)
        if done.exit_code == _GONE:
            return None
        if done.exit_code != 0:
            raise ssh.RemoteError(node, ("docker", "inspect"), done.exit_code, done.stderr)
        return read_inspect(done.text)

    def _last_words(self, name: str, container: str) -> str:
        command = ("sh", "-c", 'docker logs --tail "$1" "$2" 2>&1', "tail", str(TAIL_LINES), container)
        try:
            lines = ssh.run(self._cluster, self._cluster.node(name), *command, root=True, check=False).text.splitlines()
        except (ShoalError, OSError):
            return ""  # how it ended is known all the same
        return lines[-1] if lines else ""

    def _stop(self, name: str, container: str) -> None:
        command = ("docker", "stop", "--time", str(STOP_GRACE_S), container)
        ssh.run(self._cluster, self._cluster.node(name), *command, root=True, timeout_s=STOP_GRACE_S + 60)

    def _remove(self, name: str, container: str) -> None:
        command = ("docker", "rm", container)
        try:
            ssh.run(self._cluster, self._cluster.node(name), *command, root=True, check=False)
        except ssh.SshError:
            return  # nothing depends on it: the next attempt has another name
