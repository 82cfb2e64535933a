"""What the engine's API answers, as far as shoal reads it. Fields it has beside these are left alone.

States are read here and nowhere else: an execution's are numbers, a job's are words, and neither says whether the
container did its work (see `outcomes`).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_pascal

from shoal.cluster import engine_id

_T = TypeVar("_T")

Maybe = Annotated[list[_T], BeforeValidator(lambda value: value or [])]
"""A list that the engine writes as null when it is empty."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_pascal, populate_by_name=True)


class JobState(StrEnum):
    """Where a job is."""

    PENDING = "Pending"
    QUEUED = "Queued"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"

    @property
    def over(self) -> bool:
        """Whether nothing more will be started."""
        return self in {JobState.COMPLETED, JobState.FAILED, JobState.STOPPED}


class ComputeState(IntEnum):
    """Where an execution is, as the compute node reports it (pkg/models/execution.go)."""

    UNDEFINED = 0
    NEW = 1
    ASK_FOR_BID = 2
    ASK_FOR_BID_ACCEPTED = 3
    ASK_FOR_BID_REJECTED = 4
    BID_ACCEPTED = 5
    RUNNING = 6
    PUBLISHING = 7
    BID_REJECTED = 8
    COMPLETED = 9
    FAILED = 10
    CANCELLED = 11

    @property
    def over(self) -> bool:
        """Whether it is at its end."""
        return self in {
            ComputeState.ASK_FOR_BID_REJECTED,
            ComputeState.BID_REJECTED,
            ComputeState.COMPLETED,
            ComputeState.FAILED,
            ComputeState.CANCELLED,
        }


class DesiredState(IntEnum):
    """What the orchestrator wants of an execution."""

    PENDING = 0
    RUNNING = 1
    STOPPED = 2


class ComputeStatus(_Answer):
    """An execution's state and the engine's word on it."""

    state_type: ComputeState
    message: str = ""


class DesiredStatus(_Answer):
    """What is wanted of an execution, and why."""

    state_type: DesiredState
    message: str = ""


class RunOutput(_Answer):
    """What the container left; texts are cut at 2 KB."""

    stdout: str = ""
    stderr: str = Field("", alias="stderr")  # the one name that the engine writes in lower case
    exit_code: int = 0
    error_msg: str = ""


class EngineExecution(_Answer):
    """One node's share of a job."""

    id: str = Field(alias="ID")
    node_id: str = Field(alias="NodeID")
    """What the engine calls the node."""
    job_id: str = Field("", alias="JobID")
    compute_state: ComputeStatus
    desired_state: DesiredStatus
    run_output: RunOutput | None = None
    create_time: int = 0
    """Nanoseconds since the epoch."""

    @property
    def node(self) -> str:
        """The node's name in the cluster document."""
        return engine_id.name_of(self.node_id)


class JobStatus(_Answer):
    """A job's state; the message has a bullet per node that could not take it."""

    state_type: JobState
    message: str = ""


class Job(_Answer):
    """A job as the orchestrator keeps it."""

    id: str = Field(alias="ID")
    name: str
    state: JobStatus
    labels: dict[str, str] = Field(default_factory=dict)
    create_time: int = 0


class JobList(_Answer):
    """One page of jobs."""

    items: Maybe[Job] = Field(default_factory=list)
    next_token: str = ""


class Executions(_Answer):
    """A job's executions."""

    items: Maybe[EngineExecution] = Field(default_factory=list)


class JobView(_Answer):
    """A job with its executions."""

    job: Job
    executions: Executions = Field(default_factory=Executions)


class StoredJob(_Answer):
    """A job's whole document."""

    job: dict[str, Any]


class Submitted(_Answer):
    """The answer to a job's submission."""

    job_id: str = Field(alias="JobID")
    warnings: Maybe[str] = Field(default_factory=list)


class Capacity(_Answer):
    """Resources; the engine leaves zeros out."""

    cpu: float = Field(0.0, alias="CPU")
    memory_bytes: int = Field(0, alias="Memory")
    disk_bytes: int = Field(0, alias="Disk")
    gpu: int = Field(0, alias="GPU")


class ComputeInfo(_Answer):
    """What a compute node can do."""

    execution_engines: Maybe[str] = Field(default_factory=list)
    storage_sources: Maybe[str] = Field(default_factory=list)
    publishers: Maybe[str] = Field(default_factory=list)
    max_capacity: Capacity = Field(default_factory=Capacity)
    available_capacity: Capacity = Field(default_factory=Capacity)
    queue_capacity: Capacity = Field(default_factory=Capacity)
    """Asked for by executions that wait on the node."""
    max_job_requirements: Capacity = Field(default_factory=Capacity)
    running_executions: int = 0
    enqueued_executions: int = 0


class VersionInfo(_Answer):
    """A service's version."""

    git_version: str = ""
    arch: str = Field("", alias="GOARCH")


class NodeInfo(_Answer):
    """A node's description of itself."""

    node_id: str = Field(alias="NodeID")
    node_type: str
    labels: dict[str, str] = Field(default_factory=dict)
    compute_node_info: ComputeInfo = Field(default_factory=ComputeInfo)
    bacalhau_version: VersionInfo = Field(default_factory=VersionInfo)


class ConnectionState(_Answer):
    """Whether the orchestrator hears a node."""

    status: str = ""
    last_heartbeat: str = ""
    last_error: str = ""


class EngineNode(_Answer):
    """A node as the orchestrator sees it."""

    info: NodeInfo
    membership: str
    """PENDING, APPROVED or REJECTED."""
    connection_state: ConnectionState = Field(default_factory=ConnectionState)

    @property
    def id(self) -> str:
        """What the engine calls the node."""
        return self.info.node_id

    @property
    def name(self) -> str:
        """Its name in the cluster document."""
        return engine_id.name_of(self.info.node_id)

    @property
    def computes(self) -> bool:
        """Whether it takes jobs; a pure orchestrator lists itself too."""
        return self.info.node_type == "Compute"

    @property
    def connected(self) -> bool:
        """Whether the orchestrator hears it now."""
        return self.connection_state.status == "CONNECTED"

    @property
    def approved(self) -> bool:
        """Whether it may take jobs."""
        return self.membership == "APPROVED"

    def unfit(self) -> str | None:
        """Why it would not be given a docker job that reads local paths; None where it would."""
        info = self.info.compute_node_info
        if not self.connected:
            why = self.connection_state.last_error
            return (
                f"the orchestrator does not hear it ({self.connection_state.status.lower()}{': ' + why if why else ''})"
            )
        if not self.approved:
            return f"it is {self.membership.lower()}, not approved"
        if "docker" not in info.execution_engines:
            return "its service found no Docker when it started; restart the service once Docker runs"
        if "local" not in info.storage_sources:
            return "its service has no allow-listed path"
        return None


def by_name(nodes: Iterable[EngineNode]) -> dict[str, EngineNode]:
    """The nodes by their names; of two of one name, one of them an old entry, the one that is heard."""
    return {node.name: node for node in sorted(nodes, key=lambda node: (node.connected, node.id))}


class NodeList(_Answer):
    """All nodes."""

    nodes: Maybe[EngineNode] = Field(default_factory=list)


class Acted(_Answer):
    """The answer to an action on a node."""

    success: bool = False
    error: str = ""


class Refusal(_Answer):
    """An error in the engine's words."""

    status: int = 0
    message: str = ""
    code: str = ""
    component: str = ""
    hint: str = ""
    details: dict[str, Any] | None = None


class LogLine(_Answer):
    """One line of a container."""

    type: int = 0
    """1: standard output, 2: standard error."""
    line: str = ""


class LogFrame(BaseModel):
    """One websocket message."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    value: LogLine = Field(default_factory=LogLine)
    error: Any = None
