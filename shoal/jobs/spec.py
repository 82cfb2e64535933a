"""The part of Bacalhau's job format (`Type: ops`, docker engine) that shoal uses, as a model that refuses the rest.

Field names are ours, with units; the aliases are the engine's. `to_document` gives what its API takes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_pascal

from shoal.cluster import engine_id
from shoal.cluster.document import Node, field_faults
from shoal.errors import UsageError

Operator = Literal["in", "notin", "exists", "!", "=", "==", "!=", "gt", "lt"]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[^\x00\n]*$")]
JobName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,61}$")]
# Starts with a plain character: it is handed to docker as an argument.
ImageReference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9./:@_-]{0,511}$")]
Seconds = Annotated[int, Field(gt=0)]

_BYTES = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?)b?\s*$", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SEVERAL = {"in": "in", "=": "in", "==": "in", "notin": "notin", "!=": "notin"}
"""Operators on one value or several, and their form for several."""
_CPU = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m?)$")


def parse_cpu(text: str) -> float:
    """CPUs in `text`: `2`, `0.5` or `500m`. Raises ValueError."""
    match = _CPU.match(text)
    cpus = float(match[1]) / (1000 if match[2] else 1) if match else 0.0
    if cpus <= 0:
        raise ValueError("a number of CPUs above zero, such as 2, 0.5 or 500m")
    return cpus


def parse_bytes(text: str) -> int:
    """Bytes in `text`: `2GB` is 2 * 10^9, `2GiB` is 2 * 2^30, as the engine counts. Raises ValueError."""
    match = _BYTES.match(text)
    size_bytes = 0
    if match:
        unit = match[2].lower()
        base = 1024 if unit.endswith("i") else 1000
        size_bytes = int(float(match[1]) * base ** _POWERS[unit.removesuffix("i")])
    if size_bytes <= 0:
        raise ValueError("an amount of memory above zero, such as 2GB, 1500MB or 2GiB")
    return size_bytes


def _cpu_text(text: str) -> str:
    parse_cpu(text)
    return text


def _bytes_text(text: str) -> str:
    parse_bytes(text)
    return text


def _not_the_engines(text: str) -> str:
    if text.startswith("BACALHAU_"):
        raise ValueError("names that begin with BACALHAU_ are the engine's own")
    return text


KeyValue = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*=[^\x00]*$"), AfterValidator(_not_the_engines)
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_pascal)


class Constraint(_Part):
    """A condition on a node's labels; `name` and `os_arch` are labels that every node has."""

    key: Annotated[str, StringConstraints(min_length=1)]
    operator: Operator
    values: tuple[str, ...] = ()

    def holds(self, labels: dict[str, str]) -> bool:
        """Whether a node with `labels` meets it, as the engine decides it."""
        value = labels.get(self.key)
        if value is None:
            return self.operator in ("!", "notin", "!=")
        match self.operator:
            case "in" | "=" | "==":
                return value in self.values
            case "notin" | "!=":
                return value not in self.values
            case "gt" | "lt":
                return self._compares(value)
        return self.operator == "exists"

    def _compares(self, value: str) -> bool:
        try:
            left, right = float(value), float(self.values[0])
        except (ValueError, IndexError):
            return False
        return left > right if self.operator == "gt" else left < right


class DockerParams(_Part):
    """What runs in the container."""

    image: ImageReference
    entrypoint: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    environment_variables: tuple[KeyValue, ...] = ()
    working_directory: AbsolutePath | None = None


class DockerEngine(_Part):
    """The only engine shoal uses."""

    type: Literal["docker"]
    params: DockerParams


class LocalParams(_Part):
    """A path on the node."""

    source_path: AbsolutePath
    read_write: bool = False
    create_as: Literal["dir", "noCreate"] = "noCreate"


class LocalSource(_Part):
    """The only kind of input shoal uses: the data stays where it lies."""

    type: Literal["local"]
    params: LocalParams


class InputSource(_Part):
    """A path on the node and where the container sees it."""

    source: LocalSource
    alias: str | None = None
    target: AbsolutePath


class Resources(_Part):
    """Limits of the container. Never left out: the engine's own defaults are too small for inference."""

    cpu: Annotated[str, AfterValidator(_cpu_text)] = Field(alias="CPU")
    memory: Annotated[str, AfterValidator(_bytes_text)]
    disk: str | None = None


class Network(_Part):
    """No network: what the container needs is mounted."""

    type: Literal["None"]


class Timeouts(_Part):
    """Limits in whole seconds."""

    total_timeout_s: Seconds = Field(alias="TotalTimeout")
    execution_timeout_s: Seconds | None = Field(None, alias="ExecutionTimeout")


class Task(_Part):
    """The job's one task."""

    name: JobName
    engine: DockerEngine
    input_sources: tuple[InputSource, ...]
    resources: Resources
    network: Network
    timeouts: Timeouts


class JobSpec(_Part):
    """One attempt of a run: its name is its identity with the engine, so it is never used twice."""

    name: JobName
    namespace: str = "default"
    type: Literal["ops"]
    constraints: tuple[Constraint, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    tasks: Annotated[tuple[Task, ...], Field(min_length=1, max_length=1)]

    @property
    def task(self) -> Task:
        """The one task."""
        return self.tasks[0]

    @property
    def timeout_s(self) -> int:
        """How long one execution may take."""
        timeouts = self.task.timeouts
        return min(timeouts.total_timeout_s, timeouts.execution_timeout_s or timeouts.total_timeout_s)

    def matches(self, node: Node) -> bool:
        """Whether `node` is one that the job is for."""
        return meets(node, self.constraints)

    def again(self, *, name: str, nodes: Sequence[str], labels: dict[str, str]) -> JobSpec:
        """The same work under another name, for `nodes` only."""
        kept = tuple(constraint for constraint in self.constraints if constraint.key != "name")
        only = Constraint.model_validate({"Key": "name", "Operator": "in", "Values": tuple(nodes)})
        return self.model_copy(update={"name": name, "constraints": (*kept, only), "labels": {**self.labels, **labels}})

    def to_document(self) -> dict[str, Any]:
        """The job as the engine's API takes it."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        document["Constraints"] = [_for_engine(constraint) for constraint in document["Constraints"]]
        params = document["Tasks"][0]["Engine"]["Params"]
        if not params["Entrypoint"]:
            # An empty list is no entry point at all to the engine; left out, it is the image's own.
            del params["Entrypoint"]
        return document


def _for_engine(constraint: dict[str, Any]) -> dict[str, Any]:
    """A constraint on nodes' names as one on what the engine calls them, which are the values of its label `name`."""
    several = _SEVERAL.get(constraint["Operator"])
    if constraint["Key"] != "name" or several is None:
        return constraint
    return {**constraint, "Operator": several, "Values": engine_id.either(constraint["Values"])}


def meets(node: Node, constraints: Sequence[Constraint]) -> bool:
    """Whether `node` is a compute node that meets all of `constraints`; besides its own it has the engine's labels."""
    labels = {**node.labels, "name": node.name, "os_type": "linux", "os_arch": node.arch}
    return node.has_role("compute") and all(constraint.holds(labels) for constraint in constraints)


def parse(raw: Any, *, source: str) -> JobSpec:
    """The job in `raw` (decoded YAML or JSON), or UsageError with every fault; `source` names it in the text."""
    try:
        return JobSpec.model_validate(raw)
    except ValidationError as error:
        raise UsageError(
            f"{source} is not a job that shoal can run",
            faults=tuple(field_faults(error)),
            hint="the part of the format that is supported is in docs/jobs.md",
        ) from None
