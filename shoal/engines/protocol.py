"""What a runner is: it starts one job on a set of nodes, reports how each execution stands, and ends it on request.

A runner keeps nothing. Results and progress live in the run's folder on the node, whatever the engine says about them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from shoal.cluster.document import Engine
from shoal.jobs.spec import JobSpec
from shoal.results.record import Bring, Fetched


class State(StrEnum):
    """Where one execution is. A runner maps its engine's states to these."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    """The container ended by itself; `exit_code` says how."""
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"
    """Ended because `stop` was called."""
    LOST = "lost"
    """The node cannot be reached, or the engine gave it up; the container may go on."""
    REFUSED = "refused"
    """The node should have run the job and did not."""


LIVE = frozenset({State.STARTING, State.RUNNING})


@dataclass(frozen=True, slots=True)
class Execution:
    """One node's share of a job."""

    node: str
    id: str
    """The engine's id, or the container's name."""
    state: State
    exit_code: int | None = None
    message: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more will change."""
        return self.state not in LIVE


@dataclass(frozen=True, slots=True)
class Handle:
    """One submitted attempt."""

    run: str
    attempt: int
    job: str
    """The engine's id of the job, or its name."""
    nodes: tuple[str, ...]
    """The nodes that were expected to run it when it was submitted."""


@dataclass(frozen=True, slots=True)
class Running:
    """The engine's program as it runs on a machine."""

    machine: str
    version: str
    """As its service reports it; empty where it does not."""
    arch: str
    sha256: str


class Runner(Protocol):
    """Runs a job's container on nodes. Every method may raise ShoalError where the engine itself does not answer;
    what goes wrong on one node is that node's Execution and hinders no other.
    """

    @property
    def engine(self) -> Engine:
        """The engine's name, as in the cluster document."""
        ...

    def admit(self, job: JobSpec, nodes: Sequence[str]) -> None:
        """Raise UsageError, naming node and figure, where `job` asks for more than the engine gives out there."""
        ...

    def programs(self, nodes: Sequence[str]) -> list[Running]:
        """The engine's own programs on `nodes` and the requester, read back from the machines that answer."""
        ...

    def submit(self, job: JobSpec, *, run: str, attempt: int, nodes: Sequence[str]) -> Handle:
        """Start `job` on `nodes`; returns once every start was tried."""
        ...

    def adopt(self, run: str, nodes: Sequence[str]) -> list[Handle]:
        """Executions of `run` that are there already on `nodes`, running or ended, begun by an earlier process."""
        ...

    def away(self, nodes: Sequence[str]) -> dict[str, str]:
        """Those of `nodes` that cannot be given a job just now and may be back later, each with the reason."""
        ...

    def full(self, job: JobSpec, nodes: Sequence[str]) -> dict[str, str]:
        """Those of `nodes` on which other work leaves no room for `job` just now, each with the reason."""
        ...

    def executions(self, handle: Handle) -> list[Execution]:
        """How every node of `handle` stands now; at once, without waiting for a change."""
        ...

    def logs(self, handle: Handle, node: str) -> Iterator[str]:
        """Lines of the container on `node`, from the first one, as they come; ends when the execution is over."""
        ...

    def examine(self, execution: Execution) -> Execution:
        """`execution`, whose container was killed, with what its node still knows of the reason."""
        ...

    def stop(self, handle: Handle) -> list[str]:
        """End what still runs, and wait for it. Returns the nodes on which that could not be confirmed."""
        ...

    def release(self, handle: Handle, node: str) -> None:
        """Let go of what the engine keeps of an ended execution, once its outcome is on record."""
        ...

    def fetch(self, run: str, node: str, destination: Path, bring: Bring = "all") -> Fetched:
        """Bring the run's folder of `node` home, or its events, and check it against its manifest."""
        ...

    def close(self) -> None:
        """Let go of connections. What runs on the nodes goes on."""
        ...
